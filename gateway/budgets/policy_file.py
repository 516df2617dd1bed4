"""The form of a policy file: which requests its budgets count, how strictly, and who hears of it.

What the language has and this version does not enforce is refused by name. Refuses to know other files and
requests.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails

from gateway.budgets.action_section import Actions, deny
from gateway.budgets.alert_section import AlertSection, once
from gateway.budgets.amounts import Bound
from gateway.budgets.limits_section import Limits, limits_of
from gateway.budgets.window_section import WholeWindow, Zone
from gateway.documents import ONCE, SOMETHING, Section, closest, distinct, written, wrong
from gateway.yaml_tree import shown

ATTRIBUTES = ("org", "team", "user", "key", "model", "deployment")
ROUTES = ("images.generate", "images.edit", "images.variation", "responses", "chat")
LABEL = re.compile(r"label\.[a-z0-9][a-z0-9_.-]{0,62}")
LABELS = f"^{LABEL.pattern}$"
ANYTHING = "*"
Mode = Literal["shadow", "warn", "enforce"]

_FROM_1_TO_100 = re.compile(r"([1-9][0-9]?|100)%")
_PERCENTAGE = re.compile(r"([0-9]{1,3})%")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


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


def _budget_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise wrong(
            "must have at most 63 lower-case letters, digits and hyphens and start with a letter or digit"
            f" (got {shown(name)})"
        )
    return name


def _percentage(value: object) -> int:
    match = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 1 <= int(match[1]) <= 100:  # noqa: PLR2004
        raise wrong(f"must be a percentage from 1% to 100% (got {shown(value)})")
    return int(match[1])


Value = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_value)]


class EmergencySection(Section):
    """What may pass in one window while the store is down, for so many processes together."""

    limits: Limits
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
        AfterValidator(distinct),
    ] = Field(default_factory=list, json_schema_extra=ONCE)
    limits: Limits = Field(json_schema_extra=SOMETHING)
    window: WholeWindow
    timezone: Zone | None = None
    bound: Bound = "central"
    mode: Mode = "enforce"
    warn_at: Annotated[
        list[Annotated[int, BeforeValidator(_percentage), written(_FROM_1_TO_100)]], AfterValidator(distinct)
    ] = Field(default_factory=list, json_schema_extra=ONCE)
    on_exceed: Actions = Field(default_factory=deny)
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
