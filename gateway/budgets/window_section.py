"""The form of `window` in a policy file: calendar, rolling or fixed, in an IANA time zone.

Refuses to know where a window begins at a moment (`windows` does).
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails

from gateway.budgets.windows import EVERY, WEEKDAYS, Weekday, Window, fixed_bucket, length_ms
from gateway.documents import Section, closest, written, wrong
from gateway.yaml_tree import shown

DAY_MS = 86_400_000
LONGEST_ROLLING_DAYS = 92
LAST_YEAR_START_DAY = 28  # the last one that every month has
_MONTH_AND_DAY = re.compile(r"([0-9]{2})-([0-9]{2})")
_WALL_CLOCK = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2})?")
_DURATION = re.compile(r"[1-9][0-9]{0,3}[hd]")
_LENGTH = re.compile("|".join((*EVERY, _DURATION.pattern)))


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _zone(name: str) -> str:
    if name not in _zones():
        raise wrong(
            f"{shown(name)} is not an IANA time zone{closest(name, [*_zones()]) or ', such as Europe/Paris'}"
        )
    return name


def _month_and_day(value: object) -> object:
    match = _MONTH_AND_DAY.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 1 <= int(match[1]) <= 12 or not 1 <= int(match[2]) <= LAST_YEAR_START_DAY:  # noqa: PLR2004
        raise wrong(f"must be a month and a day up to 28, such as 04-01 (got {shown(value)})")
    return int(match[1]), int(match[2])


def _wall_clock(value: object) -> object:
    try:
        if isinstance(value, str) and _WALL_CLOCK.fullmatch(value):
            return datetime.fromisoformat(value)
    except ValueError:
        pass
    raise wrong(
        f"must be a date or a local time, such as 2026-12-01 or 2026-12-01T09:00 (got {shown(value)})"
    )


Zone = Annotated[str, AfterValidator(_zone), WithJsonSchema({"type": "string", "examples": ["Europe/Paris"]})]


class WindowSection(Section):
    """Over which stretch of time a budget counts."""

    kind: Literal["calendar", "rolling", "fixed"]
    every: Annotated[str | None, written(_LENGTH)] = None
    week_start: Weekday | None = None
    year_start: Annotated[
        tuple[int, int] | None, BeforeValidator(_month_and_day), written(_MONTH_AND_DAY)
    ] = None
    start: Annotated[datetime | None, BeforeValidator(_wall_clock), written(_WALL_CLOCK)] = Field(
        default=None, alias="from"
    )
    end: Annotated[datetime | None, BeforeValidator(_wall_clock), written(_WALL_CLOCK)] = Field(
        default=None, alias="to"
    )


def _length_mistakes(window: WindowSection, every: str) -> list[tuple[str, str]]:
    mistakes = []
    if window.kind == "calendar" and every not in EVERY:
        hint = f"; the last {every} at any moment are kind: rolling" if _rolls(every) else ""
        mistakes.append(("every", f"must be one of {', '.join(EVERY)} (got {shown(every)}){hint}"))
    if window.kind == "rolling" and not _rolls(every):
        lengths = f"hours or days from 1h to {LONGEST_ROLLING_DAYS}d, such as 24h"
        mistakes.append(("every", f"must be {lengths} (got {shown(every)})"))
    if window.week_start is not None and every != "week":
        mistakes.append(("week_start", "is only for weeks"))
    if window.year_start is not None and every not in {"quarter", "year"}:
        mistakes.append(("year_start", "is only for quarters and years"))
    return mistakes


def _rolls(every: str) -> bool:
    return bool(_DURATION.fullmatch(every)) and length_ms(every) <= LONGEST_ROLLING_DAYS * DAY_MS


def _whole_window(window: WindowSection) -> WindowSection:
    """What each kind of window needs, and nothing that only another kind has."""
    given = {"year_start": window.year_start, "week_start": window.week_start, "every": window.every}
    dates = {"from": window.start, "to": window.end}
    mistakes: list[tuple[str, str]] = []
    if window.kind != "fixed":
        mistakes += [
            (name, "is only for fixed windows") for name, value in dates.items() if value is not None
        ]
        if window.every is None:
            lengths = f"one of {', '.join(EVERY)}" if window.kind == "calendar" else "such as 24h or 7d"
            raise wrong(f"'every' is missing: {lengths}")
        mistakes += _length_mistakes(window, window.every)
    else:
        mistakes += [
            (name, f"is only for calendar{' and rolling' if name == 'every' else ''} windows")
            for name, value in given.items()
            if value is not None
        ]
        for name, value in dates.items():
            if value is None:
                raise wrong(f"'{name}' is missing")
        if window.start is not None and window.end is not None and window.start >= window.end:
            mistakes.append(("to", "must be after 'from'"))
    if mistakes:
        details = [
            InitErrorDetails(type=wrong(message), loc=(name,), input=None) for name, message in mistakes
        ]
        raise ValidationError.from_exception_data("window", details)
    return window


WholeWindow = Annotated[WindowSection, AfterValidator(_whole_window)]
"""A window that has what its kind needs."""


def window_of(section: WindowSection, zone: str) -> Window:
    """The window that a file describes; the dates of a fixed one are read off the clocks of `zone`."""
    if section.start is not None and section.end is not None:
        return Window(kind="fixed", fixed=fixed_bucket(section.start, section.end, zone))
    return Window(
        kind="rolling" if section.kind == "rolling" else "calendar",
        every=section.every,
        week_start=WEEKDAYS.index(section.week_start or "monday"),
        year_start=section.year_start or (1, 1),
    )
