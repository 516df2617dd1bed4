"""Windows: buckets of local time, through every change of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.budgets.counter import Bucket
from gateway.budgets.windows import EVERY, Window, bucket, current_and_next, fixed_bucket, moment

if TYPE_CHECKING:
    from gateway.budgets.windows import Every

ZONES = sorted(available_timezones() - {"localtime", "Factory"})
instants = st.datetimes(
    datetime.fromisoformat("2012-01-01"), datetime.fromisoformat("2037-12-31"), timezones=st.just(UTC)
)


def local(text: str, zone: str, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


def shown(every: Every, zone: str, now: datetime) -> tuple[str, str]:
    found = bucket(every, zone, now)
    start, end = (moment(ms).astimezone(ZoneInfo(zone)) for ms in (found.start_ms, found.end_ms))
    return start.isoformat(timespec="minutes"), end.isoformat(timespec="minutes")


def label(
    every: Every,
    zone: ZoneInfo,
    instant: datetime,
    *,
    week_start: int = 0,
    year_start: tuple[int, int] = (1, 1),
) -> tuple[int, ...]:
    wall = instant.astimezone(zone)
    week = (wall - timedelta(days=week_start)).isocalendar()
    if every in {"quarter", "year"} and year_start != (1, 1):
        return fiscal(every, (wall.year, wall.month, wall.day), year_start)
    return {
        "hour": (wall.year, wall.month, wall.day, wall.hour),
        "day": (wall.year, wall.month, wall.day),
        "week": (week.year, week.week),
        "month": (wall.year, wall.month),
        "quarter": (wall.year, (wall.month + 2) // 3),
        "year": (wall.year,),
    }[every]


def fiscal(every: Every, day: tuple[int, int, int], year_start: tuple[int, int]) -> tuple[int, ...]:
    """The fiscal year of a day (named by the year in which it began) and its quarter."""
    year, month = day[0] - (day[1:] < year_start), year_start[0]
    starts = [(year, month, year_start[1])]
    for _ in range(3):
        (last_year, last_month, first), step = starts[-1], 3
        starts.append((last_year + (last_month + step > 12), (last_month + step - 1) % 12 + 1, first))
    quarter = sum(start <= day for start in starts)
    return (year, quarter) if every == "quarter" else (year,)


def reached(every: Every, zone: ZoneInfo, instant: datetime, **starts: Any) -> tuple[int, ...]:
    """The latest calendar period that the local clock has shown; clocks go back by three hours at most."""
    return max(label(every, zone, instant - timedelta(minutes=15 * step), **starts) for step in range(13))


def reference(every: Every, zone: ZoneInfo, now: datetime, **starts: Any) -> tuple[datetime, datetime]:
    """The stretch around `now` with the same calendar period, by bisection on what the clock has shown."""

    def first(beyond: bool, low: datetime, high: datetime) -> datetime:
        while high - low > timedelta(minutes=1):
            middle = low + ((high - low) / 2 // timedelta(minutes=1)) * timedelta(minutes=1)
            there = reached(every, zone, middle, **starts)
            low, high = (low, middle) if (there > period if beyond else there >= period) else (middle, high)
        return high

    minute = now.replace(second=0, microsecond=0)
    period = reached(every, zone, minute, **starts)
    span = timedelta(days={"day": 3, "week": 10, "month": 34, "quarter": 95, "year": 370}[every])
    return first(False, minute - span, minute), first(True, minute, minute + span)


@given(st.sampled_from(EVERY), st.sampled_from(ZONES), instants)
@example("day", "America/St_Johns", datetime(2010, 11, 7, 2, 45, tzinfo=UTC))  # 00:01 became 23:01 again
def test_buckets_hold_now_and_follow_each_other_without_gap(every: Every, zone: str, now: datetime) -> None:
    both = current_and_next(Window("calendar", every), zone, now)
    assert both is not None
    current, following = both

    assert moment(current.start_ms) <= now < moment(current.end_ms)
    assert following.start_ms == current.end_ms < following.end_ms
    assert bucket(every, zone, moment(current.start_ms)) == current
    assert bucket(every, zone, moment(current.end_ms - 1)) == current
    assert bucket(every, zone, moment(current.start_ms - 1)).end_ms == current.start_ms


@given(st.sampled_from(EVERY[1:]), st.sampled_from(ZONES), instants)
@example("day", "America/Havana", datetime(2026, 11, 1, 4, 30, tzinfo=UTC))
@example("day", "Africa/Cairo", datetime(2026, 4, 23, 22, 0, tzinfo=UTC))
@example("day", "Pacific/Apia", datetime(2011, 12, 30, 10, 0, tzinfo=UTC))
def test_buckets_are_calendar_periods_of_the_local_clock(every: Every, zone: str, now: datetime) -> None:
    found = bucket(every, zone, now)

    assert (moment(found.start_ms), moment(found.end_ms)) == reference(every, ZoneInfo(zone), now)


@given(st.sampled_from(ZONES), instants, st.integers(0, 6))
def test_weeks_start_on_any_day(zone: str, now: datetime, week_start: int) -> None:
    found = bucket("week", zone, now, week_start=week_start)

    expected = reference("week", ZoneInfo(zone), now, week_start=week_start)
    assert (moment(found.start_ms), moment(found.end_ms)) == expected


@given(
    st.sampled_from(["quarter", "year"]),
    st.sampled_from(ZONES),
    instants,
    st.tuples(st.integers(1, 12), st.integers(1, 28)),
)
@example("year", "Europe/London", datetime(2028, 4, 5, 22, 59, tzinfo=UTC), (4, 6))
@example("year", "Pacific/Kiritimati", datetime(2028, 2, 28, 12, 0, tzinfo=UTC), (2, 28))
def test_fiscal_years_start_on_any_day(
    every: Every, zone: str, now: datetime, year_start: tuple[int, int]
) -> None:
    found = bucket(every, zone, now, year_start=year_start)

    expected = reference(every, ZoneInfo(zone), now, year_start=year_start)
    assert (moment(found.start_ms), moment(found.end_ms)) == expected


def changes_of(zone: ZoneInfo, year: int) -> list[datetime]:
    """The hours of a year in which the clocks of a zone change."""
    first = datetime(year, 1, 1, tzinfo=UTC)
    found = []
    for day in range(366):
        start = first + timedelta(days=day)
        if start.astimezone(zone).utcoffset() != (start + timedelta(days=1)).astimezone(zone).utcoffset():
            hours = [start + timedelta(hours=hour) for hour in range(25)]
            offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
            found += [hours[n] for n in range(24) if offsets[n] != offsets[n + 1]]
    return found


def test_every_zone_keeps_its_days_and_months_through_each_change_of_its_clocks() -> None:
    seen = 0
    for name in ZONES:
        zone = ZoneInfo(name)
        moments = [moment for year in (2026,) for moment in changes_of(zone, year)]
        seen += bool(moments)
        for now in [one + timedelta(hours=hours) for one in moments for hours in (-1, 1)]:
            for every in ("day", "month"):
                found = bucket(every, name, now)
                expected = reference(every, zone, now)
                assert (moment(found.start_ms), moment(found.end_ms)) == expected, (every, name, now)

    assert seen > 150, "clocks change in more than a quarter of the zones"


def test_every_zone_has_a_leap_day_between_its_28_february_and_its_1_march() -> None:
    for name in ZONES:
        zone = ZoneInfo(name)
        noon = datetime(2028, 2, 29, 12, tzinfo=zone)
        day, month = bucket("day", name, noon), bucket("month", name, noon)

        starts = [datetime(2028, *date, tzinfo=zone) for date in ((2, 29), (3, 1), (2, 1))]
        assert moment(day.start_ms) == starts[0], name
        assert moment(day.end_ms) == moment(month.end_ms) == starts[1], name
        assert moment(month.start_ms) == starts[2], name


def test_the_british_tax_year_starts_on_the_sixth_of_april() -> None:
    before = bucket("year", "Europe/London", local("2026-04-05 23:59", "Europe/London"), year_start=(4, 6))
    after = bucket("quarter", "Europe/London", local("2026-04-06 00:00", "Europe/London"), year_start=(4, 6))

    assert moment(before.start_ms) == local("2025-04-06 00:00", "Europe/London")
    assert moment(before.end_ms) == moment(after.start_ms) == local("2026-04-06 00:00", "Europe/London")
    assert moment(after.end_ms) == local("2026-07-06 00:00", "Europe/London")


def test_a_fixed_window_holds_its_first_moment_and_not_its_last() -> None:
    fixed = fixed_bucket(datetime(2026, 12, 1), datetime(2026, 12, 25), "Europe/Paris")  # noqa: DTZ001
    window = Window("fixed", fixed=fixed)

    def at(text: str) -> tuple[Bucket, Bucket] | None:
        return current_and_next(window, "Europe/Paris", local(text, "Europe/Paris"))

    assert moment(fixed.start_ms) == local("2026-12-01 00:00", "Europe/Paris")
    assert at("2026-11-30 23:59:59.999") is None
    assert (
        at("2026-12-01 00:00") == at("2026-12-24 23:59:59.999") == (fixed, Bucket(fixed.end_ms, fixed.end_ms))
    )
    assert at("2026-12-25 00:00") is None


@given(st.sampled_from(ZONES), instants, st.integers(1, 10_000))
def test_a_fixed_window_spans_what_the_local_clock_shows(zone: str, now: datetime, minutes: int) -> None:
    start = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None, second=0, microsecond=0)

    fixed = fixed_bucket(start, start + timedelta(minutes=minutes), zone)

    assert fixed.start_ms <= fixed.end_ms
    shown = moment(fixed.start_ms).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert shown == start


@given(st.sampled_from(ZONES), instants)
@example("Australia/Lord_Howe", datetime(2026, 4, 4, 15, 10, tzinfo=UTC))
@example("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 40, tzinfo=UTC))
def test_hours_start_where_the_local_clock_shows_a_new_hour(zone: str, now: datetime) -> None:
    def starts(instant: datetime) -> bool:
        wall, before = (at.astimezone(ZoneInfo(zone)) for at in (instant, instant - timedelta(minutes=1)))
        return wall.minute == 0 or (wall.date(), wall.hour) != (before.date(), before.hour)

    start = now.replace(second=0, microsecond=0)
    end = start + timedelta(minutes=1)
    while not starts(start):
        start -= timedelta(minutes=1)
    while not starts(end):
        end += timedelta(minutes=1)

    found = bucket("hour", zone, now)

    assert (moment(found.start_ms), moment(found.end_ms)) == (start, end)


@pytest.mark.parametrize(
    ("every", "start", "end"),
    [
        ("hour", "2026-11-23T15:00+01:00", "2026-11-23T16:00+01:00"),
        ("day", "2026-11-23T00:00+01:00", "2026-11-24T00:00+01:00"),
        ("week", "2026-11-23T00:00+01:00", "2026-11-30T00:00+01:00"),
        ("month", "2026-11-01T00:00+01:00", "2026-12-01T00:00+01:00"),
        ("quarter", "2026-10-01T00:00+02:00", "2027-01-01T00:00+01:00"),
        ("year", "2026-01-01T00:00+01:00", "2027-01-01T00:00+01:00"),
    ],
)
def test_each_period_starts_and_ends_on_the_local_clock(every: Every, start: str, end: str) -> None:
    assert shown(every, "Europe/Paris", local("2026-11-23 15:30", "Europe/Paris")) == (start, end)


def test_the_last_millisecond_of_a_month_is_in_it_and_the_next_is_not() -> None:
    midnight = local("2026-12-01 00:00", "Europe/Paris")

    before = bucket("month", "Europe/Paris", midnight - timedelta(milliseconds=1))
    after = bucket("month", "Europe/Paris", midnight)

    assert before.end_ms == after.start_ms == int(midnight.timestamp() * 1000)


@pytest.mark.parametrize(
    ("zone", "noon", "hours"),
    [
        ("Europe/Paris", "2026-03-29 12:00", 23),
        ("Europe/Paris", "2026-10-25 12:00", 25),
        ("America/Havana", "2026-11-01 12:00", 25),
        ("America/Havana", "2026-03-08 12:00", 23),
        ("Australia/Lord_Howe", "2026-04-05 12:00", 24.5),
        ("Australia/Lord_Howe", "2026-10-04 12:00", 23.5),
        ("Asia/Kathmandu", "2026-10-25 12:00", 24),
    ],
)
def test_days_have_the_hours_that_the_clocks_give_them(zone: str, noon: str, hours: float) -> None:
    found = bucket("day", zone, local(noon, zone))

    assert (found.end_ms - found.start_ms) / 3_600_000 == hours


def test_an_hour_that_the_clocks_repeat_is_two_buckets() -> None:
    first = shown("hour", "Europe/Paris", local("2026-10-25 02:30", "Europe/Paris"))
    second = shown("hour", "Europe/Paris", local("2026-10-25 02:30", "Europe/Paris", fold=1))

    assert first == ("2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00")
    assert second == ("2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00")


def test_a_skipped_hour_or_day_has_no_bucket() -> None:
    assert shown("hour", "Europe/Paris", local("2026-03-29 01:30", "Europe/Paris")) == (
        "2026-03-29T01:00+01:00",
        "2026-03-29T03:00+02:00",
    )
    assert shown("day", "Pacific/Apia", local("2011-12-29 12:00", "Pacific/Apia")) == (
        "2011-12-29T00:00-10:00",
        "2011-12-31T00:00+14:00",
    )


def test_a_leap_day_belongs_to_february() -> None:
    assert shown("month", "UTC", local("2028-02-29 23:59", "UTC")) == (
        "2028-02-01T00:00+00:00",
        "2028-03-01T00:00+00:00",
    )
    assert shown("day", "UTC", local("2028-02-29 12:00", "UTC")) == (
        "2028-02-29T00:00+00:00",
        "2028-03-01T00:00+00:00",
    )


def test_zones_fourteen_hours_ahead_and_twelve_behind_are_in_different_months() -> None:
    now = datetime(2026, 11, 30, 11, 0, tzinfo=UTC)

    assert shown("month", "Pacific/Kiritimati", now)[0] == "2026-12-01T00:00+14:00"
    assert shown("month", "Etc/GMT+12", now)[0] == "2026-11-01T00:00-12:00"


def test_now_may_be_given_in_any_zone() -> None:
    paris = local("2026-12-01 00:30", "Europe/Paris")

    assert bucket("month", "Europe/Paris", paris) == bucket("month", "Europe/Paris", paris.astimezone(UTC))
