"""What routing makes of readings: who leads, and whether signals decide."""

from __future__ import annotations

import math

from gateway.routing.grid import Grid
from gateway.routing.readings import Series
from gateway.routing.standing import Option, Standing

NOW = 486_000
HOURS = 600


def option(
    zone: str | None, yearly: float, name: str | None = None, *, per_g: float = 1.0, beside: float = 0.0
) -> Option:
    return Option(
        name or str(zone),
        zone,
        other_g=0.1,
        energy_kwh=0.003,
        fixed_g_per_kwh=yearly,
        per_g=per_g,
        beside=beside,
    )


def series(zone: str, level: float, swing: float, newest: int = NOW) -> Series:
    one = Series(zone, source="test")
    for hour in range(newest - HOURS, newest + 1):
        one.add(hour, level + swing * math.sin(hour * math.pi / 12))
    return one


def grid(*options: Option, known: list[Series], kind: str = "average-lifecycle") -> Grid:
    one = Grid(kind=kind, standings={"m": Standing(options)})  # type: ignore[arg-type]
    for each in known:
        each.kind = one.kind
    one.replace_series(known)
    return one


def test_before_any_reading_the_best_by_the_year_leads() -> None:
    one = grid(option("DE", 300), option("GB", 200), known=[])
    one.refresh(NOW, 0.05)

    assert one.incumbent("m") == "GB"
    assert not one.acts("m")
    assert one.incumbent("nobody") is None


def test_fresh_readings_change_the_leader_by_the_hour() -> None:
    one = grid(
        option("DE", 300),
        option("GB", 250),
        known=[series("DE", 300, 200, NOW + 60), series("GB", 250, 0, NOW + 60)],
    )

    leaders = set()
    for hour in range(NOW, NOW + 24):
        for each in one.series.values():
            each.newest = hour
        one.refresh(hour, 0.05)
        assert one.acts("m")
        leaders.add(one.incumbent("m"))

    assert leaders == {"DE", "GB"}


def test_readings_of_half_a_day_ago_decide_nothing() -> None:
    one = grid(option("DE", 300), option("GB", 250), known=[series("DE", 100, 0), series("GB", 250, 0)])
    one.refresh(NOW + 13, 0.05)

    assert not one.acts("m")
    assert one.incumbent("m") == "GB"


def test_other_kinds_decide_only_when_every_candidate_has_one() -> None:
    both = [series("DE", 100, 0), series("GB", 250, 0)]
    whole = grid(option("DE", 300), option("GB", 250), known=both, kind="marginal")
    part = grid(option("DE", 300), option("GB", 250), known=both[:1], kind="marginal")
    for one in (whole, part):
        one.refresh(NOW, 0.05)

    assert (whole.acts("m"), whole.incumbent("m")) == (True, "DE")
    assert (part.acts("m"), part.incumbent("m")) == (False, "GB")


def test_a_zone_without_readings_stands_at_its_year() -> None:
    one = grid(option("DE", 300), option(None, 900, "anywhere"), known=[series("DE", 700, 0)])
    one.refresh(NOW, 0.05)

    assert one.acts("m")
    assert one.incumbent("m") == "DE"


def test_where_carbon_does_not_count_no_reading_decides() -> None:
    wet, dry = option("DE", 300, per_g=0, beside=9), option("GB", 250, per_g=0, beside=5)
    one = grid(wet, dry, known=[series("DE", 10, 0), series("GB", 900, 0)])
    one.refresh(NOW, 0.05)

    assert not one.acts("m")
    assert one.incumbent("m") == "GB"


def test_what_counts_beside_carbon_can_outweigh_a_reading() -> None:
    known = [series("DE", 100, 0), series("GB", 250, 0)]
    clean = grid(option("DE", 300), option("GB", 250), known=known)
    thirsty = grid(option("DE", 300, beside=2), option("GB", 250, beside=1), known=known)
    for one in (clean, thirsty):
        one.refresh(NOW, 0.05)

    assert (clean.acts("m"), clean.incumbent("m")) == (True, "DE")
    assert (thirsty.acts("m"), thirsty.incumbent("m")) == (True, "GB")
