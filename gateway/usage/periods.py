"""Stretches of time that usage is asked for, and how they are cut into buckets of local time.

Pure: the present is an argument. Buckets follow the wall clock of an IANA zone through changes of its
clocks: a day has 23 or 25 hours then, and a repeated hour is two buckets. A bucket has a number, computed
from the offsets of the zone, so that SQL can do it without knowing zones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from typing import Literal, get_args
from zoneinfo import ZoneInfo, available_timezones

from gateway.errors import InvalidRequest

Window = Literal["hour", "day", "week", "month", "total"]
WINDOWS: tuple[Window, ...] = get_args(Window)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DAYS_PER_WEEK = 7
# 1970-01-01 was a Thursday: three days after a Monday.
MONDAY = 3
LONGEST_DAYS: dict[Window, int] = {"hour": 400, "day": 20 * 366, "week": 20 * 366, "month": 20 * 366}
YEARS = range(1970, 3000)
EPOCH = date(1970, 1, 1)
# In a query string an unescaped + arrives as a space.
SPACED_OFFSET = re.compile(r" (?=\d\d:\d\d$)")


@dataclass(frozen=True, slots=True)
class Period:
    """From `start_ms` (included) to `end_ms` (excluded), UTC epoch milliseconds, read in a zone."""

    start_ms: int
    end_ms: int
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Offset:
    """Local time minus UTC, in force up to `until_ms` (excluded)."""

    until_ms: int
    ms: int


def zone_named(name: str) -> ZoneInfo:
    """The IANA zone of this name. Raises `InvalidRequest` for anything else."""
    if name not in _zones():
        raise InvalidRequest("'tz' must be an IANA time zone such as Europe/Paris", param="tz")
    return ZoneInfo(name)


def period(start: str | None, end: str | None, zone: ZoneInfo, *, window: Window, now: datetime) -> Period:
    """What `from` and `to` ask for; without them the current month of the zone.

    Each is an RFC 3339 time or a date; without an offset it is local time. With `from` alone the period
    reaches to the present, with `to` alone it starts with the month that `to` ends. Raises `InvalidRequest`.
    """
    today = now.astimezone(zone).date()
    if start is None and end is None:
        first, last = _month_start(today, zone), _month_start(_next_month(today), zone)
    elif start is None:
        last = _moment(end or "", zone, param="to")
        first = _month_start(datetime.fromtimestamp((last - 1) / 1000, zone).date(), zone)
    else:
        first = _moment(start, zone, param="from")
        last = _moment(end, zone, param="to") if end is not None else int(now.timestamp() * 1000) + 1
    if first >= last:
        raise InvalidRequest("'from' must be before 'to'", code="empty_period", param="from")
    longest = LONGEST_DAYS.get(window)
    if longest is not None and last - first > longest * DAY_MS:
        raise InvalidRequest(
            f"at most {longest} days with window={window}", code="period_too_long", param="from"
        )
    return Period(first, last, zone)


def offsets(within: Period) -> list[Offset]:
    """The zone's offsets during a period, in order; the last one reaches beyond its end."""
    found: list[Offset] = []
    first, end = within.start_ms // 1000, -(-within.end_ms // 1000)
    while first < end:
        following = min(first + DAY_MS // 1000, end)
        before = _offset_s(first, within.zone)
        if _offset_s(following, within.zone) != before:
            change = _change(first, following, within.zone)
            found.append(Offset(until_ms=change * 1000, ms=before * 1000))
            following = change
        first = following
    return [*found, Offset(until_ms=within.end_ms + 1, ms=_offset_s(end, within.zone) * 1000)]


def month_starts(within: Period) -> list[int]:
    """Where each month of the period starts, and where the one after the last starts."""
    day = datetime.fromtimestamp(within.start_ms / 1000, within.zone).date().replace(day=1)
    starts = [_month_start(day, within.zone)]
    while starts[-1] < within.end_ms:
        day = _next_month(day)
        starts.append(_month_start(day, within.zone))
    return starts


def bounds(number: int, window: Window, within: Period) -> tuple[int, int]:
    """Start and end of a numbered bucket (see `queries`), clipped to the period that was asked for."""
    zone = within.zone
    match window:
        case "hour":
            start, end = number, number + HOUR_MS
        case "day":
            start, end = _day_start(number, zone), _day_start(number + 1, zone)
        case "week":
            monday = number * DAYS_PER_WEEK - MONDAY
            start, end = _day_start(monday, zone), _day_start(monday + DAYS_PER_WEEK, zone)
        case "month":
            start, end = list(pairwise(month_starts(within)))[number]
        case "total":
            start, end = within.start_ms, within.end_ms
    return max(start, within.start_ms), min(end, within.end_ms)


def rfc3339(epoch_ms: int, zone: ZoneInfo | None = None) -> str:
    """A time as people and programs read it: UTC with Z, or local time with its offset."""
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC if zone is None else zone)
    text = moment.isoformat(timespec="seconds" if epoch_ms % 1000 == 0 else "milliseconds")
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _moment(text: str, zone: ZoneInfo, *, param: str) -> int:
    try:
        moment = datetime.fromisoformat(SPACED_OFFSET.sub("+", text) if "T" in text else text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        if moment.year not in YEARS:
            raise ValueError
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"'{param}' must be an RFC 3339 time or a date", param=param) from error


def _offset_s(epoch_s: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(epoch_s, zone).utcoffset()
    return round((offset or timedelta()).total_seconds())


def _change(first: int, last: int, zone: ZoneInfo) -> int:
    """The first second with another offset than `first` has, up to `last`, which has one."""
    before = _offset_s(first, zone)
    while last - first > 1:
        middle = (first + last) // 2
        if _offset_s(middle, zone) == before:
            first = middle
        else:
            last = middle
    return last


def _day_start(number: int, zone: ZoneInfo) -> int:
    """The first moment of the local day with this number, counted from 1970-01-01."""
    return _midnight(EPOCH + timedelta(days=number), zone)


def _month_start(day: date, zone: ZoneInfo) -> int:
    return _midnight(day.replace(day=1), zone)


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _midnight(day: date, zone: ZoneInfo) -> int:
    return round(datetime.combine(day, time(), tzinfo=zone).timestamp() * 1000)
