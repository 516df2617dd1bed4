"""The form of a policy file: which keys it may hold and what each of their values may be.

Limits become ledger integers here, by exact arithmetic. What the language has and this version does not
enforce is refused by name. Refuses to know other files and requests.
"""

from __future__ import annotations

import re
from datetime import datetime
from fractions import Fraction
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails

from gateway.budgets.alert_section import AlertSection, once
from gateway.budgets.amounts import MAX_STORED, Bound, Dimension
from gateway.budgets.windows import EVERY, WEEKDAYS, Weekday, Window, fixed_bucket, length_ms
from gateway.documents import Section, closest, unsupported, written, wrong
from gateway.yaml_tree import shown

ATTRIBUTES = ("org", "team", "user", "key", "model", "deployment")
ROUTES = ("images.generate", "images.edit", "images.variation", "responses", "chat")
LABEL = re.compile(r"label\.[a-z0-9][a-z0-9_.-]{0,62}")
LABELS = f"^{LABEL.pattern}$"
ANYTHING = "*"
UNLIMITED = "unlimited"
ONCE: dict[str, JsonValue] = {"uniqueItems": True}
SOMETHING: dict[str, JsonValue] = {"minProperties": 1}
Mode = Literal["shadow", "warn", "enforce"]
Action = Literal["downgrade", "reroute", "deny"]
Word = TypeVar("Word", str, int)

DAY_MS = 86_400_000
LONGEST_ROLLING_DAYS = 92
LAST_YEAR_START_DAY = 28  # the last one that every month has
_MONTH_AND_DAY = re.compile(r"([0-9]{2})-([0-9]{2})")
_WALL_CLOCK = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2})?")
_DURATION = re.compile(r"[1-9][0-9]{0,3}[hd]")
_LENGTH = re.compile("|".join((*EVERY, _DURATION.pattern)))
_FROM_1_TO_100 = re.compile(r"([1-9][0-9]?|100)%")
_PERCENTAGE = re.compile(r"([0-9]{1,3})%")
_SIZE = re.compile(r"[1-9][0-9]{1,3}x[1-9][0-9]{1,3}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_QUANTITY = re.compile(r"(-?[0-9]{1,30}(?:\.[0-9]{1,30})?) ?([^\s0-9]\S*)")
# How many of the ledger's integers each unit is.
_UNITS: dict[Dimension, dict[str, int]] = {
    Dimension.ENERGY: {"Wh": 10**6, "kWh": 10**9, "MWh": 10**12},
    Dimension.WATER: {"mL": 10**3, "L": 10**6, "m3": 10**9},
    Dimension.CARBON: {
        "mg": 10**3,
        "g": 10**6,
        "kg": 10**9,
        "t": 10**12,
    },
    Dimension.COST: {"USD": 10**6},
}


def _quantity(dimension: Dimension) -> BeforeValidator:
    units = _UNITS[dimension]

    def integer(value: object) -> int | str:
        if value == UNLIMITED:
            return UNLIMITED
        match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise wrong(
                f"must be a number and one of {', '.join(units)}, such as 2.5 {[*units][-2:][0]}"
                f" (got {shown(value)})"
            )
        number, unit = match.groups()
        if unit not in units:
            raise wrong(f"{shown(unit)} is not one of {', '.join(units)}{closest(unit, [*units])}")
        return _storable(Fraction(number) * units[unit], f"{number} {unit}")

    text = rf"^(?:[0-9]{{1,30}}(\.[0-9]{{1,30}})? ?({'|'.join(units)})|{UNLIMITED})$"
    return BeforeValidator(integer, json_schema_input_type=Annotated[str, Field(pattern=text)])


def _image_count(value: object) -> int | str:
    if value == UNLIMITED:
        return UNLIMITED
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(f"must be a whole number (got {shown(value)})")
    return _storable(Fraction(value), str(value))


def _storable(amount: Fraction, text: str) -> int:
    if amount < 0:
        raise wrong(f"must not be negative (got {text})")
    if amount > MAX_STORED:
        raise wrong(f"{text} is more than can be counted")
    if amount.denominator != 1:
        raise wrong(f"{text} is finer than can be counted")
    return int(amount)


def _values(value: object) -> object:
    """One value or a list of them, as a tuple."""
    if isinstance(value, list):
        if not value:
            raise wrong("must not be empty: leave the key out to match everything")
        return tuple(value)
    return (value,)


def _value(value: str) -> str:
    if ANYTHING in value and value != ANYTHING:
        raise wrong(f"'*' stands alone for any value; patterns are not supported (got {shown(value)})")
    return value


def _one_of(known: tuple[str, ...]) -> AfterValidator:
    """A name out of `known`, or `label.<name>`."""

    def check(word: str) -> str:
        if word in known or LABEL.fullmatch(word):
            return word
        if word.startswith("label."):
            raise wrong(
                f"{shown(word)}: a label's name has only lower-case letters, digits, '_', '.' and '-'"
            )
        raise wrong(f"{shown(word)} is not one of {', '.join(known)}, label.<name>{closest(word, [*known])}")

    return AfterValidator(check)


def _known_routes(match: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    mistakes = [
        InitErrorDetails(
            type=wrong(f"must be one of {', '.join(ROUTES)} (got {shown(route)})"),
            loc=("route", index),
            input=route,
        )
        for index, route in enumerate(match.get("route", ()))
        if route not in (*ROUTES, ANYTHING)
    ]
    if mistakes:
        raise ValidationError.from_exception_data("match", mistakes)
    return match


def match_schema() -> dict[str, Any]:
    """What editors are told of `match`: one value or a list of them for each attribute."""

    def values(one: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}

    text = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^(\*|[^*]+)$"}
    return {
        "type": "object",
        "properties": {
            **{name: values(text) for name in ATTRIBUTES},
            "route": values({"enum": [*ROUTES, ANYTHING]}),
        },
        "patternProperties": {LABELS: values(text)},
        "additionalProperties": False,
    }


def _distinct(words: list[Word]) -> list[Word]:
    if len(set(words)) < len(words):
        raise wrong("names something twice")
    return words


def _budget_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise wrong(
            "must have at most 63 lower-case letters, digits and hyphens and start with a letter or digit"
            f" (got {shown(name)})"
        )
    return name


def _deny() -> list[ActionSection]:
    return [ActionSection(deny=True)]


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _zone(name: str) -> str:
    if name not in _zones():
        raise wrong(f"{shown(name)} is not an IANA time zone{closest(name, [*_zones()])}")
    return name


def _size(text: str | None) -> str | None:
    if text is not None and not _SIZE.fullmatch(text):
        raise wrong(f"must be WIDTHxHEIGHT in pixels (got {shown(text)})")
    return text


def _percentage(value: object) -> int:
    match = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 1 <= int(match[1]) <= 100:  # noqa: PLR2004
        raise wrong(f"must be a percentage from 1% to 100% (got {shown(value)})")
    return int(match[1])


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


Value = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_value)]
Zone = Annotated[str, AfterValidator(_zone), WithJsonSchema({"type": "string", "examples": ["Europe/Paris"]})]
Count = Annotated[int, Field(ge=0)]


Limit = int | Literal["unlimited"] | None


class LimitsSection(Section):
    """At most so much in one window, in ledger integers; None is no limit, 0 allows nothing.

    `unlimited` is no limit either, but the budget counts it and shows what was used.
    """

    energy: Annotated[Limit, _quantity(Dimension.ENERGY)] = None
    water: Annotated[Limit, _quantity(Dimension.WATER)] = None
    carbon: Annotated[Limit, _quantity(Dimension.CARBON)] = None
    images: Annotated[
        Limit, BeforeValidator(_image_count, json_schema_input_type=Count | Literal["unlimited"])
    ] = None
    cost: Annotated[Limit, _quantity(Dimension.COST)] = None


def _some_limit(limits: LimitsSection) -> LimitsSection:
    if not limits.model_fields_set:
        raise wrong(f"must hold at least one of {', '.join(Dimension)}")
    return limits


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
        mistakes.append(("every", f"must be one of {', '.join(EVERY)} (got {shown(every)})"))
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
            raise wrong("'every' is missing")
        mistakes += _length_mistakes(window, window.every)
    else:
        mistakes += [
            (name, "is only for calendar windows") for name, value in given.items() if value is not None
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


class RungSection(Section):
    """What one step down a ladder changes."""

    model_config = ConfigDict(json_schema_extra=SOMETHING)

    quality: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    size: Annotated[str | None, AfterValidator(_size), written(_SIZE)] = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None


def _some_change(rung: RungSection) -> RungSection:
    if not rung.model_fields_set:
        raise wrong("must hold at least one of quality, size, steps, n, model")
    return rung


Ladder = Annotated[
    list[Annotated[RungSection, AfterValidator(_some_change)]], Field(min_length=1, max_length=8)
]
Elsewhere = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=63)]],
    Field(min_length=1, max_length=8, json_schema_extra=ONCE),
    AfterValidator(_distinct),
]


class _LadderForm(Section):
    downgrade: Ladder


class _ElsewhereForm(Section):
    reroute: Elsewhere


ActionForm = Literal["deny"] | _LadderForm | _ElsewhereForm
"""An action as it is written, for editors."""


class ActionSection(Section):
    """One thing to do when a budget has no room: a ladder of lighter forms, other deployments, or `deny`."""

    deny: Literal[True] | None = None
    downgrade: Ladder | None = None
    reroute: Elsewhere | None = None

    @property
    def name(self) -> Action:
        return "downgrade" if self.downgrade else "reroute" if self.reroute else "deny"


def _action(value: object) -> object:
    if value == "deny":
        return {"deny": True}
    if isinstance(value, dict) and [*value] in (["downgrade"], ["reroute"]):
        return value
    raise wrong(
        "must be deny, downgrade: with a list of changes, or reroute: with a list of deployments"
        f" (got {shown(value)})"
    )


def _denies_at_last(actions: list[ActionSection]) -> list[ActionSection]:
    names = [action.name for action in actions]
    if names[-1:] != ["deny"]:
        raise wrong("must end with deny: it is what is left when nothing else fits")
    if len(set(names)) < len(names):
        raise wrong("names something twice")
    return actions


class EmergencySection(Section):
    """What may pass in one window while the store is down, for so many processes together."""

    limits: Annotated[LimitsSection, AfterValidator(_some_limit)]
    processes: Annotated[int, Field(ge=1, le=1000)]


class BudgetSection(Section):
    """One entry of `budgets:`."""

    later: ClassVar[frozenset[str]] = frozenset({"raises", "unknown_model"})

    name: Annotated[str, AfterValidator(_budget_name), written(_NAME)]
    match: Annotated[
        dict[
            Annotated[str, _one_of((*ATTRIBUTES, "route"))],
            Annotated[tuple[Value, ...], BeforeValidator(_values)],
        ],
        AfterValidator(_known_routes),
        WithJsonSchema(match_schema()),
    ] = Field(default_factory=dict)
    per: Annotated[
        list[
            Annotated[
                str,
                _one_of(ATTRIBUTES),
                WithJsonSchema({"anyOf": [{"enum": [*ATTRIBUTES]}, {"type": "string", "pattern": LABELS}]}),
            ]
        ],
        AfterValidator(_distinct),
    ] = Field(default_factory=list, json_schema_extra=ONCE)
    limits: Annotated[LimitsSection, AfterValidator(_some_limit)] = Field(json_schema_extra=SOMETHING)
    window: Annotated[WindowSection, AfterValidator(_whole_window)]
    timezone: Zone | None = None
    bound: Bound = "central"
    mode: Mode = "enforce"
    warn_at: Annotated[
        list[Annotated[int, BeforeValidator(_percentage), written(_FROM_1_TO_100)]], AfterValidator(_distinct)
    ] = Field(default_factory=list, json_schema_extra=ONCE)
    on_exceed: Annotated[
        list[
            Annotated[
                ActionSection,
                BeforeValidator(_action, json_schema_input_type=ActionForm),
                unsupported("warn", "defer"),
            ]
        ],
        Field(min_length=1),
        AfterValidator(_denies_at_last),
    ] = Field(default_factory=_deny)
    on_store_down: Literal["deny", "allow"] = "deny"
    emergency: EmergencySection | None = None
    alerts: Annotated[list[AlertSection], Field(min_length=1, max_length=5), AfterValidator(once)] = Field(
        default_factory=list
    )


def _declared_allowance(budget: BudgetSection) -> BudgetSection:
    """`allow` needs an allowance in every dimension that the budget limits, and a share for each process."""
    emergency = budget.emergency
    if budget.on_store_down == "deny" and emergency is not None:
        raise _mistake("emergency", "is only for on_store_down: allow")
    if emergency is None:
        if budget.on_store_down == "allow":
            raise _mistake(
                "on_store_down", "needs an 'emergency' that says how much may pass without the store"
            )
        return budget
    allowance = limits_of(emergency.limits)
    for dimension in limits_of(budget.limits):
        if dimension not in allowance:
            raise _mistake("emergency", f"must limit {dimension} too, as the budget does")
    for dimension, limit in allowance.items():
        if 0 < limit < emergency.processes:
            raise _mistake("emergency", f"{dimension} is too little to share among the processes")
    return budget


def _mistake(key: str, message: str) -> ValidationError:
    details = [InitErrorDetails(type=wrong(message), loc=(key,), input=None)]
    return ValidationError.from_exception_data("budget", details)


class PolicyFile(Section):
    """A whole file; `timezone` holds for each budget that names none."""

    timezone: Zone = "UTC"
    budgets: list[Annotated[BudgetSection, AfterValidator(_declared_allowance)]]


def limits_of(section: LimitsSection) -> dict[Dimension, int]:
    """The limits that a file sets, in the order of `Dimension`."""
    declared: dict[str, Any] = section.model_dump(exclude_none=True)
    return {d: declared[d] for d in Dimension if declared.get(d, UNLIMITED) != UNLIMITED}


def unlimited_of(section: LimitsSection) -> tuple[Dimension, ...]:
    """What a file counts without a limit."""
    return tuple(d for d in Dimension if getattr(section, d) == UNLIMITED)


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
