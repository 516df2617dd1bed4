"""What every provider of grid signals has in common: how it is asked, and how its failures are told.

A provider is a few lines: where to ask, and how to read the answer. Reading is strict where a mistake would
be believed (zone, unit, kind) and forgiving where sources are known to be untidy (nulls, numbers as text,
gaps). What cannot be read is an error, never a zero.
"""

from __future__ import annotations

import email.utils
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import msgspec

from gateway.errors import EcogateError
from gateway.routing.readings import Reading, hour_of, sane

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import SecretStr

    from gateway.routing.readings import Kind

MAX_BYTES = 4 * 1024 * 1024
REFUSED_PAUSE_S = 3600.0
FAILED_PAUSE_S = 300.0
MAX_PAUSE_S = 6 * 3600.0
REFUSED = frozenset({401, 402, 403, 404})
TOO_MANY_REQUESTS = 429


class SourceFailed(EcogateError):
    """A source gave nothing usable; it is left alone for `pause_s` seconds."""

    def __init__(self, message: str, pause_s: float = FAILED_PAUSE_S) -> None:
        super().__init__(message)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a provider: a zone by our name and by the provider's (`area`), and the time in seconds
    of UTC since 1970 from which on hours are wanted, until now."""

    zone: str
    area: str
    since: float
    now: float
    key: SecretStr | None = None

    def secret(self) -> str:
        return self.key.get_secret_value() if self.key is not None else ""

    def start(self) -> datetime:
        return datetime.fromtimestamp(self.since, UTC)

    def end(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


@dataclass(frozen=True, slots=True)
class Call:
    """One GET below the provider's base URL."""

    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """A source of one kind of signal."""

    name: str
    kind: Kind
    base_url: str

    def area(self, zone: str) -> str | None:
        """The provider's own name of an electricity zone; None where it has none."""

    async def fetch(self, http: httpx.AsyncClient, base_url: str, question: Question) -> list[Reading]:
        """The readings since a time. Raises SourceFailed."""


async def get(http: httpx.AsyncClient, base_url: str, call: Call) -> bytes:
    """The body of a 200. Raises SourceFailed with how long to leave the source alone."""
    try:
        response = await http.get(
            f"{base_url.rstrip('/')}{call.path}", params=dict(call.params), headers=dict(call.headers)
        )
    except httpx.HTTPError as error:
        raise SourceFailed(f"no answer: {type(error).__name__}") from error
    status = response.status_code
    if status in REFUSED:
        raise SourceFailed(f"refused with status {status}", REFUSED_PAUSE_S)
    if status == TOO_MANY_REQUESTS:
        raise SourceFailed("too many requests", retry_after_s(response.headers.get("retry-after")))
    if not response.is_success:
        raise SourceFailed(
            f"answered with status {status}", retry_after_s(response.headers.get("retry-after"))
        )
    if len(response.content) > MAX_BYTES:
        raise SourceFailed("the answer is too large")
    return response.content


def retry_after_s(text: str | None) -> float:
    """Seconds to wait by a Retry-After header (seconds or a date); a default where it says nothing."""
    if not text:
        return FAILED_PAUSE_S
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = email.utils.parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return FAILED_PAUSE_S
        # "-0000" means UTC of a place that is not told, which the library gives without a zone.
        seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 1.0), MAX_PAUSE_S) if math.isfinite(seconds) else FAILED_PAUSE_S


def decoded(body: bytes) -> Any:
    """The JSON of a body. Raises SourceFailed for HTML and other things that are none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SourceFailed("the answer is no JSON") from error


def rows(answer: Any, *path: str) -> list[dict[str, Any]]:
    """The list of objects at a path. Raises SourceFailed where there is none."""
    for name in path:
        answer = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(answer, list):
        raise SourceFailed(f"the answer has no list '{'.'.join(path)}'")
    return [row for row in answer if isinstance(row, dict)]


def number(value: Any) -> float | None:
    """A finite number, also one written as text; None for null and for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if math.isfinite(read) else None


def instant(text: Any) -> float | None:
    """Seconds of UTC since 1970 of an ISO time; one without an offset is UTC. None if it is no time."""
    if not isinstance(text, str):
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a time, before it belongs to an hour."""

    at: float
    g_per_kwh: float
    estimated: bool = False


def hourly(points: Iterable[Point], question: Question, *, kind: Kind, source: str) -> list[Reading]:
    """One reading per hour: the mean of its points. Hours that have not begun are forecasts.

    Of several points for one time the last one counts, so that a time given twice weighs no more than others.
    """
    hours: dict[int, list[Point]] = {}
    for point in {point.at: point for point in points if sane(point.g_per_kwh)}.values():
        hours.setdefault(hour_of(point.at), []).append(point)
    current = hour_of(question.now)
    return [
        Reading(
            question.zone,
            kind,
            hour,
            sum(point.g_per_kwh for point in inside) / len(inside),
            source,
            estimated=any(point.estimated for point in inside),
            forecast=hour > current,
        )
        for hour, inside in sorted(hours.items())
    ]
