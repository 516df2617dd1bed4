"""Calendar windows as stretches of time, in the zone of a policy.

Pure: the present is an argument, and time zones come from the tz database. The buckets of a window follow
each other without gap or overlap, through every change of the clocks: days of 23 or 25 hours are normal, an
hour that the clocks repeat is two buckets, and an hour or day that they skip has none. Weeks start on Monday.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, get_args
from zoneinfo import ZoneInfo

from gateway.budgets.counter import Bucket

if TYPE_CHECKING:
    from collections.abc import Iterator

Every = Literal["hour", "day", "week", "month", "quarter", "year"]
EVERY: tuple[Every, ...] = get_args(Every)

_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_DAYS = {"day": 1, "week": 7}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bucket(every: Every, zone: str, now: datetime) -> Bucket:
    """The bucket that holds `now` (aware), for an IANA zone."""
    instants = sorted(
        {instant for wall in _walls(every, zone, now) for instant in _instants(every, zone, wall)}
    )
    moment = now.astimezone(UTC)
    return Bucket(
        start_ms=_milliseconds(max(instant for instant in instants if instant <= moment)),
        end_ms=_milliseconds(min(instant for instant in instants if instant > moment)),
    )


def current_and_next(every: Every, zone: str, now: datetime) -> tuple[Bucket, Bucket]:
    """The bucket that holds `now` and the one that starts where it ends."""
    current = bucket(every, zone, now)
    return current, bucket(every, zone, moment(current.end_ms))


def moment(epoch_ms: int) -> datetime:
    """Milliseconds since 1970 as an aware datetime in UTC."""
    return _EPOCH + timedelta(milliseconds=epoch_ms)


def _walls(every: Every, zone: str, now: datetime) -> Iterator[datetime]:
    """What the local clock shows where windows start, from two windows before `now` to two after."""
    wall = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None, minute=0, second=0, microsecond=0)
    for step in range(-2, 3):
        if every == "hour":
            yield wall + timedelta(hours=step)
        elif every in _DAYS:
            start = wall.replace(hour=0)
            monday = timedelta(days=start.weekday() if every == "week" else 0)
            yield start - monday + timedelta(days=step * _DAYS[every])
        else:
            length = _MONTHS[every]
            month = (wall.year * 12 + wall.month - 1) // length * length + step * length
            yield datetime(month // 12, month % 12 + 1, 1)  # noqa: DTZ001  # a wall clock has no zone


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
