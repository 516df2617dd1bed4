"""The fallback ladder of a zone's intensity, rung by rung."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.ladder import Intensity, from_readings, intensity_at
from gateway.routing.readings import Reading, Series
from gateway.routing.tables import MonthHourTable, month_and_hour

NOW = 486_000


def series(hours: int = 240, newest: int = NOW, level: float = 300.0) -> Series:
    one = Series("GB", source="neso")
    for hour in range(newest - hours + 1, newest + 1):
        one.add(hour, level + 100 * math.sin(hour * math.pi / 12))
    return one


def at(hour: int, known: Series | None, table: MonthHourTable | None = None) -> Intensity:
    return intensity_at(hour, known, table=table, yearly_g_per_kwh=215.8, yearly_source="EMBER")


def table() -> MonthHourTable:
    learnt = MonthHourTable.learnt("GB", series(24 * 40).hours, "history")
    assert learnt is not None
    return learnt


def test_the_rungs_follow_the_age_of_the_newest_reading() -> None:
    known = series()

    qualities = [at(NOW + age, known, table()).quality for age in (0, 2, 3, 12, 13, 48, 49)]

    assert qualities == ["live", "live", "blend", "blend", "shape", "shape", "table"]
    assert at(NOW + 49, known).quality == "yearly"
    assert at(NOW, None).as_json() == {
        "g_per_kwh": 215.8,
        "quality": "yearly",
        "source": "EMBER",
        "kind": "average-lifecycle",
        "estimated": True,
    }


def test_the_reading_of_the_very_hour_is_taken_as_it_is() -> None:
    known = series()

    now = at(NOW, known)

    assert now.g_per_kwh == known.hours[NOW]
    assert (now.age_h, now.estimated) == (0, False)


def test_a_value_that_its_source_estimated_stays_an_estimate() -> None:
    known = series()
    known.take([Reading("GB", "average-lifecycle", NOW, 200.0, "neso", estimated=True)])

    assert at(NOW, known).estimated


def test_the_usual_day_carries_the_last_value_along() -> None:
    known = series()

    expected = from_readings(series(newest=NOW + 6), NOW + 6, 0)

    assert expected is not None
    assert from_readings(known, NOW + 6, 6) == expected or math.isclose(
        from_readings(known, NOW + 6, 6) or 0, expected, rel_tol=1e-6
    )


def test_a_deviation_fades_with_its_age() -> None:
    usual, odd = series(), series()
    odd.add(NOW, usual.hours[NOW] + 100)

    excess = [
        (from_readings(odd, NOW + age, age) or 0) - (from_readings(usual, NOW + age, age) or 0)
        for age in (3, 12, 23)
    ]

    assert 100 > excess[0] > excess[1] > excess[2] > 0


def test_a_first_reading_without_a_past_is_used_while_live_only() -> None:
    young = Series("GB", hours={NOW: 123.0}, newest=NOW)

    assert at(NOW + 1, young).g_per_kwh == 123.0
    assert at(NOW + 3, young).quality == "yearly"


def test_without_the_reading_of_an_age_there_is_no_value_of_that_age() -> None:
    gappy = Series("GB", hours={NOW - 3: 120.0, NOW: 130.0})

    assert [from_readings(gappy, NOW, age) for age in (0, 1)] == [130.0, None]
    assert from_readings(gappy, NOW - 1, 2) == 120.0


def test_a_value_far_off_the_usual_is_distrusted() -> None:
    broken = Series("GB", hours={NOW: 1400.0}, newest=NOW)

    assert at(NOW, broken).quality == "yearly"


def test_a_grid_that_was_at_nothing_comes_back_to_its_usual_day() -> None:
    known = series()
    known.hours[NOW] = 0.0  # as a file may say; a source's zero is left out

    assert from_readings(known, NOW, 0) == 0
    later = from_readings(known, NOW + 12, 12)
    assert later is not None
    assert later > 50


def test_values_that_no_grid_has_are_not_learnt() -> None:
    one = Series("GB")
    for value in (0.0, -5.0, 1500.0, math.nan, math.inf):
        one.add(NOW, value)

    assert one.newest is None
    assert not one.hours


def test_kinds_zones_and_forecasts_are_never_mixed() -> None:
    one = Series("GB")
    one.take(
        [
            Reading("GB", "marginal", NOW, 500, "x"),
            Reading("FR", "average-lifecycle", NOW, 20, "x"),
            Reading("GB", "average-lifecycle", NOW + 1, 200, "x", forecast=True),
        ]
    )

    assert not one.hours


def test_months_without_data_have_no_usual_value() -> None:
    summer = table()

    assert summer.at(NOW) is not None
    assert summer.at(NOW + 24 * 120) is None
    assert month_and_hour(NOW) == (6, 0)


@given(
    st.lists(st.floats(1, 1400), min_size=200, max_size=200),
    st.integers(1, 60),
)
def test_an_estimate_looks_at_nothing_after_the_newest_reading(values: list[float], age: int) -> None:
    past = Series("GB")
    for offset, value in enumerate(values):
        past.add(NOW - 199 + offset, value)
    future = Series("GB", hours={**past.hours, **{NOW + hour: 777.0 for hour in range(1, 90)}}, newest=NOW)

    estimate = from_readings(past, NOW + age, age)

    assert estimate == from_readings(future, NOW + age, age)
    assert estimate is None or 0.3 * values[-1] <= estimate <= 3 * values[-1] + 1e-9
