"""Windows as stretches of time, in the zone of a policy.

Pure: the present is an argument, and time zones come from the tz database. The buckets of a window follow
each other without gap or overlap, through every change of the clocks: days of 23 or 25 hours are normal, an
hour that the clocks repeat is two buckets, and an hour or day that they skip has none. A fixed window has one
bucket, and outside of it there is none. A rolling window has small buckets that know no zone: the last
`PARTS` count with the one in force, so that it counts a little more than its length and never less.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args
from zoneinfo import ZoneInfo

from gateway.budgets.counter import Bucket

if TYPE_CHECKING:
    from collections.abc import Iterator

Every = Literal["hour", "day", "week", "month", "quarter", "year"]
EVERY: tuple[Every, ...] = get_args(Every)

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)

PARTS = 24
_HOURS = {"h": 1, "d": 24}
_HOUR_MS = 3_600_000

_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_DAYS = {"day": 1, "week": 7}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of time that a budget counts over.

    Calendar windows have `every`: `week_start` counts from Monday = 0, `year_start` is the month and day from
    which years and quarters count. Fixed windows have `fixed`. `every` of rolling ones is hours or days, as
    24h or 7d.
    """

    kind: Literal["calendar", "rolling", "fixed"]
    every: str | None = None
    week_start: int = 0
    year_start: tuple[int, int] = (1, 1)
    fixed: Bucket | None = None

    @property
    def trail(self) -> int:
        """How many earlier buckets count with the one in force."""
        return PARTS if self.kind == "rolling" else 0


def bucket(
    every: Every, zone: str, now: datetime, *, week_start: int = 0, year_start: tuple[int, int] = (1, 1)
) -> Bucket:
    """The bucket that holds `now` (aware), for an IANA zone."""
    walls = _walls(every, zone, now, week_start, year_start)
    instants = sorted({instant for wall in walls for instant in _instants(every, zone, wall)})
    moment = now.astimezone(UTC)
    return Bucket(
        start_ms=_milliseconds(max(instant for instant in instants if instant <= moment)),
        end_ms=_milliseconds(min(instant for instant in instants if instant > moment)),
    )


def current_and_next(window: Window, zone: str, now: datetime) -> tuple[Bucket, Bucket] | None:
    """The bucket that holds `now` and the one that starts where it ends; None outside of a fixed window.

    After the bucket of a fixed window comes an empty one, which holds no moment.
    """
    if window.fixed is not None:
        fixed = window.fixed
        if not fixed.start_ms <= _milliseconds(now.astimezone(UTC)) < fixed.end_ms:
            return None
        return fixed, Bucket(fixed.end_ms, fixed.end_ms)
    return _around(window, zone, _milliseconds(now.astimezone(UTC)) // 1000)


@lru_cache(maxsize=256)
def _around(window: Window, zone: str, second: int) -> tuple[Bucket, Bucket]:
    """The two of every moment within a second since 1970: windows begin at whole ones."""
    current = _at(window, zone, moment(second * 1000))
    return current, _at(window, zone, moment(current.end_ms))


def _at(window: Window, zone: str, instant: datetime) -> Bucket:
    if window.kind == "rolling":
        assert window.every is not None, "a rolling window has a length"  # noqa: S101
        width_ms = length_ms(window.every) // PARTS
        start_ms = _milliseconds(instant.astimezone(UTC)) // width_ms * width_ms
        return Bucket(start_ms, start_ms + width_ms)
    every = next(one for one in EVERY if one == window.every)
    return bucket(every, zone, instant, week_start=window.week_start, year_start=window.year_start)


def length_ms(every: str) -> int:
    """The length of a rolling window: `24h`, `7d`."""
    return int(every[:-1]) * _HOURS[every[-1]] * _HOUR_MS


def fixed_bucket(first: datetime, end: datetime, zone: str) -> Bucket:
    """From one reading of the local clock (without a zone) to another, which is excluded."""
    start_ms, end_ms = (
        _milliseconds(wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)) for wall in (first, end)
    )
    return Bucket(start_ms, max(start_ms, end_ms))


def moment(epoch_ms: int) -> datetime:
    """Milliseconds since 1970 as an aware datetime in UTC."""
    return _EPOCH + timedelta(milliseconds=epoch_ms)


def _walls(
    every: Every, zone: str, now: datetime, week_start: int, year_start: tuple[int, int]
) -> Iterator[datetime]:
    """What the local clock shows where windows start, from two windows before `now` to two after."""
    wall = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None, minute=0, second=0, microsecond=0)
    for step in range(-2, 3):
        if every == "hour":
            yield wall + timedelta(hours=step)
        elif every in _DAYS:
            start = wall.replace(hour=0)
            since = timedelta(days=(start.weekday() - week_start) % 7 if every == "week" else 0)
            yield start - since + timedelta(days=step * _DAYS[every])
        else:
            length = _MONTHS[every]
            first_month, first_day = (1, 1) if every == "month" else year_start
            months = wall.year * 12 + wall.month - first_month - (wall.day < first_day)
            month = months // length * length + step * length + first_month - 1
            yield datetime(month // 12, month % 12 + 1, first_day)  # noqa: DTZ001  # a wall clock has no zone


def _instants(every: Every, zone: str, wall: datetime) -> Iterator[datetime]:
    """When the local clock shows `wall`: once, or twice for an hour that is repeated.

    Where the clocks skip it, this is the moment of the jump: to a skipped reading Python applies the offset
    that was in force before (PEP 495), and jumps over the start of a window begin there.
    """
    local = wall.replace(tzinfo=ZoneInfo(zone))
    first = local.astimezone(UTC)
    yield first
    if every == "hour":
        again = local.replace(fold=1).astimezone(UTC)
        if again > first:
            yield again


def _milliseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(milliseconds=1)
