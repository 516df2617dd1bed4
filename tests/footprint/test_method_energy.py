from __future__ import annotations

import pytest

from gateway.footprint.catalogue import find_model
from gateway.footprint.factors import load_factors
from gateway.footprint.method_energy import spread_of, warnings_for


def test_terms_of_a_result_add_in_squares() -> None:
    factors = load_factors()
    flops, quantised = factors.spreads["flops"].up, factors.spreads["quantised"].up

    assert spread_of(["flops", "quantised"], factors).up == pytest.approx((flops**2 + quantised**2) ** 0.5)
    assert spread_of([], factors) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "terms", "code"),
    [
        ("who-knows", (), "unknown_model"),
        ("my-flux-lora", (), "guessed_model"),
        ("gpt-image-2.6-flare", (), "uncertain_model"),
        ("flux.1-schnell", ("few_step",), "few_step_model"),
        ("sdxl", ("gpu_extrapolated",), "gpu_extrapolated"),
    ],
)
def test_what_weakens_a_result_is_told_by_code_and_never_by_the_clients_words(
    name: str, terms: tuple[str, ...], code: str
) -> None:
    warnings = warnings_for(find_model(name, load_factors()), terms)

    assert [warning.split(":")[0] for warning in warnings] == [code]
    assert "who-knows" not in warnings[0]
    assert "my-flux-lora" not in warnings[0]


def test_a_known_model_has_no_warning() -> None:
    assert warnings_for(find_model("sdxl", load_factors()), ("flops",)) == ()
