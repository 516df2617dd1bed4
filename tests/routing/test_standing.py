"""Each zone is trusted by the age of its own readings, and the fixed choice leads where nobody knows it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.routing.readings import Series
from gateway.routing.standing import PIECE_H, Known, Option, Standing

NOW = 486_000
WEEKS = 5 * 168


def option(zone: str, fixed: float) -> Option:
    return Option(zone.lower(), zone, other_g=0.1, energy_kwh=0.003, fixed_g_per_kwh=fixed)


def series(zone: str, level: float, swing: float = 0.0, *, silent_h: int = 0, phase: int = 0) -> Series:
    """A zone whose day is a sine, with readings until so many hours ago."""
    hours = {
        hour: level + swing * math.sin((hour + phase) * math.pi / 12)
        for hour in range(NOW - WEEKS, NOW + 1 - silent_h)
    }
    return Series(zone, hours=hours, newest=NOW - silent_h)


def standing_at(now: int, options: list[Option], *known: Series, apart: bool = True) -> Standing:
    one = Standing(options)
    one.refresh(now, Known({each.zone: each for each in known}, apart=apart), 0.05)
    return one


OPTIONS = [option("DE", 300), option("GB", 280), option("ES", 320)]


def test_only_the_zone_that_fell_silent_loses_its_say() -> None:
    # Spain was by far the best when it was last heard of.
    one = standing_at(NOW, OPTIONS, series("DE", 240), series("GB", 280), series("ES", 50, silent_h=9))

    assert one.acts
    assert one.silent == {"es"}
    assert one.incumbent == "de"


def test_a_leader_that_falls_silent_gives_its_seat_up() -> None:
    one = Standing(OPTIONS)
    known = Known({each.zone: each for each in (series("DE", 290), series("GB", 280), series("ES", 100))})
    one.refresh(NOW, known, 0.05)
    assert one.incumbent == "es"

    known.carbon["DE"].add(NOW + 9, 290)
    known.carbon["GB"].add(NOW + 9, 280)
    one.refresh(NOW + 9, known, 0.05)

    assert (one.acts, one.silent, one.incumbent) == (True, frozenset({"es"}), "gb")


def test_where_the_fixed_choice_is_silent_it_leads() -> None:
    one = standing_at(NOW, OPTIONS, series("DE", 40), series("GB", 280, silent_h=9), series("ES", 300))

    assert not one.acts
    assert not one.silent
    assert one.incumbent == "gb"


def test_readings_of_another_kind_decide_only_where_all_zones_have_them() -> None:
    fresh, silent = series("ES", 50), series("ES", 50, silent_h=9)
    others = series("DE", 240), series("GB", 280)

    assert standing_at(NOW, OPTIONS, *others, fresh, apart=False).incumbent == "es"
    assert not standing_at(NOW, OPTIONS, *others, silent, apart=False).acts
    assert not standing_at(NOW, OPTIONS, *others, apart=False).acts


def test_late_zones_take_part_where_that_has_paid() -> None:
    # Every day Spain is far better for hours, so that even readings six hours old have paid.
    spain = series("ES", 260, 240, silent_h=5)
    one = standing_at(NOW, OPTIONS, series("DE", 300), series("GB", 280), spain)

    assert one.acts
    assert not one.silent
    assert one.proof is not None
    assert sorted(one.proof.accounts) == [6]


def test_where_late_zones_have_not_paid_the_others_race_without_them() -> None:
    spain = series("ES", 320, 10, silent_h=5)
    one = standing_at(NOW, OPTIONS, series("DE", 260), series("GB", 280), spain)

    assert (one.acts, one.silent, one.incumbent) == (True, frozenset({"es"}), "de")
    assert one.proof is not None
    assert sorted(one.proof.accounts) == [1, 6]


def test_water_decides_where_the_objective_is_water() -> None:
    wet = Option("wet", "A", 0.1, 0.003, 100, per_g=0, fixed_l_per_kwh=2, per_ml=1)
    dry = Option("dry", "B", 0.1, 0.003, 900, per_g=0, fixed_l_per_kwh=1, per_ml=1)
    one = Standing([wet, dry])
    one.refresh(NOW, Known({}, {"A": series("A", 0.5), "B": series("B", 1)}), 0.05)

    assert one.acts
    assert one.incumbent == "wet"
    assert wet.score(0, 2) == pytest.approx(6)


def test_without_readings_that_bear_on_the_objective_the_fixed_choice_leads() -> None:
    unmoved = [Option("a", "DE", 0.1, 0.003, 300, per_g=0, beside=2), Option("b", "GB", 0.1, 0.003, 9, 0, 1)]

    assert standing_at(NOW, unmoved, series("DE", 1), series("GB", 900)).incumbent == "b"
    assert standing_at(NOW, OPTIONS).incumbent == "gb"
    assert standing_at(NOW, OPTIONS, Series("DE"), Series("GB")).incumbent == "gb"


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=3, max_size=3), st.integers(0, 23), st.sampled_from([30, 150]))
def test_learning_in_pieces_comes_to_the_same(silent: list[int], phase: int, swing: float) -> None:
    levels = {"DE": 290, "GB": 280, "ES": 300}
    known = Known(
        {
            zone: series(zone, level, swing, silent_h=hours, phase=phase * place)
            for place, (hours, (zone, level)) in enumerate(zip(silent, levels.items(), strict=True))
        }
    )
    at_once, pieces = Standing(OPTIONS), Standing(OPTIONS)

    steps = 0
    for _ in pieces.learning(NOW, known, 0.05):
        steps += 1
        assert not pieces.acts
        assert pieces.incumbent is None
    pieces.refresh(NOW, known, 0.05)
    at_once.refresh(NOW, known, 0.05)

    assert (pieces.acts, pieces.silent, pieces.incumbent) == (at_once.acts, at_once.silent, at_once.incumbent)
    assert steps >= WEEKS // PIECE_H - 6 or not at_once.acts
    # Whoever leads is known well enough or is the fixed choice.
    assert at_once.incumbent not in at_once.silent
