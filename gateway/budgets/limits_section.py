"""The form of `limits` in a policy file: amounts with units, as the ledger's integers.

By exact arithmetic: what is finer than the ledger counts, or more, is refused. Refuses to know windows and
what happens beyond a limit.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.budgets.amounts import MAX_STORED, Dimension
from gateway.documents import Section, closest, wrong
from gateway.yaml_tree import shown

UNLIMITED = "unlimited"
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


Limits = Annotated[LimitsSection, AfterValidator(_some_limit)]
"""Limits of which there is at least one."""


def limits_of(section: LimitsSection) -> dict[Dimension, int]:
    """The limits that a file sets, in the order of `Dimension`."""
    declared: dict[str, Any] = section.model_dump(exclude_none=True)
    return {d: declared[d] for d in Dimension if declared.get(d, UNLIMITED) != UNLIMITED}


def unlimited_of(section: LimitsSection) -> tuple[Dimension, ...]:
    """What a file counts without a limit."""
    return tuple(d for d in Dimension if getattr(section, d) == UNLIMITED)
