from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.budgets.windows import bucket, moment
from gateway.errors import InvalidRequest
from gateway.usage.periods import (
    DAY_MS,
    DAYS_PER_WEEK,
    HOUR_MS,
    MONDAY,
    Period,
    Window,
    bounds,
    month_starts,
    offsets,
    period,
    rfc3339,
    zone_named,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")
ZONES = (
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Pacific/Chatham",
)


def asked(
    start: str | None, end: str | None, zone: ZoneInfo = PARIS, window: Window = "day"
) -> tuple[str, str]:
    found = period(start, end, zone, window=window, now=NOW)
    return rfc3339(found.start_ms, zone), rfc3339(found.end_ms, zone)


def test_without_bounds_the_period_is_the_current_local_month() -> None:
    assert asked(None, None) == ("2026-11-01T00:00:00+01:00", "2026-12-01T00:00:00+01:00")
    late = datetime(2026, 12, 31, 20, tzinfo=UTC)
    there = period(None, None, ZoneInfo("Pacific/Auckland"), window="day", now=late)
    assert rfc3339(there.start_ms) == "2026-12-31T11:00:00Z"


def test_a_date_is_local_midnight_and_a_time_keeps_its_offset() -> None:
    assert asked("2026-03-29", "2026-03-30") == ("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00")
    assert asked("2026-01-01T00:00:00Z", "2026-01-01T12:00:00-05:00") == (
        "2026-01-01T01:00:00+01:00",
        "2026-01-01T18:00:00+01:00",
    )


def test_a_plus_that_arrived_as_a_space_is_one() -> None:
    assert asked("2026-01-01T00:00:00 02:00", "2026-01-02")[0] == "2025-12-31T23:00:00+01:00"


def test_one_bound_alone_reaches_to_the_present_or_from_its_month() -> None:
    assert asked("2026-11-20", None)[1] == "2026-11-23T13:00:00.001+01:00"
    assert asked(None, "2026-07-01")[0] == "2026-06-01T00:00:00+02:00"
    assert asked(None, "2026-07-02")[0] == "2026-07-01T00:00:00+02:00"


@pytest.mark.parametrize(
    "text", ["", "now", "2026", "2026-13-01", "1700000000", "0001-01-01", "2026-01-01T25:00Z"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(text, None)

    assert caught.value.param == "from"


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_makes_a_period_fail_otherwise(start: str, end: str) -> None:
    try:
        found = period(start, end, PARIS, window="total", now=NOW)
    except InvalidRequest:
        return
    assert found.start_ms < found.end_ms


@pytest.mark.parametrize("name", ["", "Europe/Pariss", "/etc/passwd", "..", "localtime", "posixrules"])
def test_only_zones_of_the_database_are_zones(name: str) -> None:
    with pytest.raises(InvalidRequest):
        zone_named(name)


def test_the_offsets_change_at_the_moment_of_the_jump() -> None:
    within = period("2026-01-01", "2027-01-01", PARIS, window="day", now=NOW)

    found = [(rfc3339(offset.until_ms), offset.ms // HOUR_MS) for offset in offsets(within)]

    assert found[:2] == [("2026-03-29T01:00:00Z", 1), ("2026-10-25T01:00:00Z", 2)]
    assert [hours for _, hours in found] == [1, 2, 1]


def number_of(at_ms: int, window: Window, within: Period) -> int:
    """What the SQL computes, in Python."""
    offset_ms = next(offset.ms for offset in offsets(within) if at_ms < offset.until_ms)
    if window == "hour":
        return (at_ms + offset_ms) // HOUR_MS * HOUR_MS - offset_ms
    if window == "month":
        return next(n for n, start in enumerate(month_starts(within)[1:]) if at_ms < start)
    day = (at_ms + offset_ms) // DAY_MS
    return day if window == "day" else (day + MONDAY) // DAYS_PER_WEEK


@given(
    st.sampled_from(ZONES),
    st.sampled_from(["hour", "day", "week", "month"]),
    st.integers(min_value=0, max_value=4_000_000_000_000),
)
def test_usage_has_the_same_buckets_as_budgets(zone: str, window: Window, at_ms: int) -> None:
    """Two ways to the same stretch: by offsets, as in SQL, and by wall clocks, as in the ledger's windows."""
    within = Period(max(0, at_ms - 40 * DAY_MS), at_ms + 40 * DAY_MS, ZoneInfo(zone))

    start_ms, end_ms = bounds(number_of(at_ms, window, within), window, within)

    expected = bucket(window, zone, moment(at_ms))  # type: ignore[arg-type]
    assert start_ms == max(expected.start_ms, within.start_ms)
    assert end_ms == min(expected.end_ms, within.end_ms)


def test_a_repeated_hour_is_two_buckets_and_its_day_has_25_hours() -> None:
    within = period("2026-10-25", "2026-10-26", PARIS, window="hour", now=NOW)
    hours = range(within.start_ms, within.end_ms, HOUR_MS)

    numbers = {number_of(at_ms, "hour", within) for at_ms in hours}

    assert len(numbers) == 25
    assert {number_of(at_ms, "day", within) for at_ms in hours} == {number_of(within.start_ms, "day", within)}


def test_times_are_shown_with_z_or_the_local_offset() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert rfc3339(1_500) == "1970-01-01T00:00:01.500Z"
    assert rfc3339(0, PARIS) == "1970-01-01T01:00:00+01:00"
    assert rfc3339(0, ZoneInfo("UTC")) == "1970-01-01T00:00:00Z"
