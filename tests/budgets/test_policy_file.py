"""The form of policy files: what each limit is in ledger integers."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.budgets.amounts import MAX_STORED, Dimension
from gateway.budgets.limits_section import LimitsSection, limits_of

if TYPE_CHECKING:
    from decimal import Decimal

PER_UNIT = {
    ("energy", "Wh"): 10**6,
    ("energy", "kWh"): 10**9,
    ("energy", "MWh"): 10**12,
    ("water", "mL"): 10**3,
    ("water", "L"): 10**6,
    ("water", "m3"): 10**9,
    ("carbon", "mg"): 10**3,
    ("carbon", "g"): 10**6,
    ("carbon", "kg"): 10**9,
    ("carbon", "t"): 10**12,
    ("cost", "USD"): 10**6,
}


@pytest.mark.parametrize(("dimension", "unit"), PER_UNIT)
def test_each_unit_is_its_number_of_ledger_integers(dimension: str, unit: str) -> None:
    limits = LimitsSection.model_validate({dimension: f"2.5 {unit}"})

    assert limits_of(limits) == {Dimension(dimension): PER_UNIT[dimension, unit] * 5 // 2}


@given(
    st.sampled_from(sorted(PER_UNIT)), st.decimals(0, 10**16, allow_nan=False, allow_infinity=False, places=8)
)
def test_a_limit_is_exact_or_refused(unit: tuple[str, str], number: Decimal) -> None:
    exact = Fraction(number) * PER_UNIT[unit]
    try:
        limits = LimitsSection.model_validate({unit[0]: f"{number:f} {unit[1]}"})
    except ValidationError:
        assert exact.denominator > 1 or exact > MAX_STORED
    else:
        assert limits_of(limits) == {Dimension(unit[0]): exact}
        assert exact <= MAX_STORED


@given(st.text(max_size=12) | st.from_regex(r"-?[0-9]{0,3}[.,]?[0-9]{0,3} ?[kmM]?[Whg]{0,2}", fullmatch=True))
def test_any_text_is_a_limit_or_a_sentence(text: str) -> None:
    try:
        limits = LimitsSection.model_validate({"energy": text})
    except ValidationError as error:
        (details,) = error.errors()
        message = details["msg"]
        assert "Wh" in message or "counted" in message or "negative" in message
    else:
        assert 0 <= limits_of(limits)[Dimension.ENERGY] <= MAX_STORED


def test_zero_is_a_limit_and_an_absent_dimension_is_none() -> None:
    assert limits_of(LimitsSection.model_validate({"images": 0})) == {Dimension.IMAGES: 0}


@pytest.mark.parametrize("count", [True, 1.0, "1", None, -1, MAX_STORED + 1])
def test_images_are_counted_in_whole_numbers(count: object) -> None:
    with pytest.raises(ValidationError):
        LimitsSection.model_validate({"images": count})
