from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.footprint.factors import load_factors
from gateway.footprint.gpu_energy import (
    Conditions,
    calibration,
    counted_range,
    formula_numbers,
    formula_wh,
    tflop_per_forward,
)
from gateway.footprint.hardware import fit_of

SDXL = Conditions("sdxl", 1024 * 1024, steps=25, passes=2, batch=1, precision="bf16")


@pytest.mark.parametrize(("edge", "tflop"), [(256, 0.428), (512, 1.589), (1024, 6.761), (2048, 35.907)])
def test_counted_sizes_are_met_exactly(edge: int, tflop: float) -> None:
    assert tflop_per_forward("sdxl", edge * edge, load_factors()) == pytest.approx(tflop)


def test_between_counted_sizes_work_follows_a_power_of_the_pixels() -> None:
    middle = tflop_per_forward("sdxl", 1024 * 1280, load_factors())

    assert middle == pytest.approx((6.761 * 11.195) ** 0.5, rel=1e-6)


def test_a_derived_network_is_a_share_of_its_relative() -> None:
    factors = load_factors()

    assert tflop_per_forward("hidream", 1e6, factors) == pytest.approx(
        1.43 * tflop_per_forward("flux.1", 1e6, factors)
    )
    assert counted_range("hidream", factors) == (65536.0, 2048.0**2)


def test_a_distilled_network_is_lighter_than_its_relative() -> None:
    factors = load_factors()
    sdxl, ssd, vega = (tflop_per_forward(name, 1024 * 1024, factors) for name in ("sdxl", "ssd-1b", "vega"))

    assert (ssd, vega) == pytest.approx((4.208, 2.822))
    assert vega < ssd < sdxl


@given(
    st.sampled_from(["sd-1.5", "flux.1", "sana1.5-1.6b", "flux.2-dev"]),
    st.floats(256, 2e7),
    st.floats(1.001, 4),
)
def test_more_pixels_are_more_work(network: str, pixels: float, growth: float) -> None:
    factors = load_factors()

    assert tflop_per_forward(network, pixels * growth, factors) > tflop_per_forward(network, pixels, factors)


def test_the_formula_is_energy_per_flop_plus_energy_per_step() -> None:
    factors = load_factors()
    wh = formula_wh(SDXL, fit_of(factors.gpus["H100"], factors), factors)

    assert wh == pytest.approx((2.32 * (2 * 25 * 6.761 + 10.47) + 6 * 25) / 3600)


def test_the_numbers_of_the_formula_give_its_result() -> None:
    factors = load_factors()
    fit = fit_of(factors.gpus["H100"], factors)
    for work in (SDXL, replace(SDXL, precision="fp32", vae_runs=2.0, sequence=2.0)):
        n = formula_numbers(work, fit, factors)
        tflop = n["passes"] * n["steps"] * n["F"] + n["runs"] * n["F_vae"]
        joules = tflop * n["e"] * n.get("fp32", 1) + n.get("c", 0) * n["steps"] / work.batch

        assert formula_wh(work, fit, factors) == pytest.approx(joules / 3600)


def test_full_precision_costs_3_7_times_the_work_and_nothing_per_step() -> None:
    factors = load_factors()
    wh = formula_wh(replace(SDXL, precision="fp32"), fit_of(factors.gpus["H100"], factors), factors)

    assert wh == pytest.approx(8.52 * (2 * 25 * 6.761 + 10.47) / 3600, rel=1e-3)


def test_a_measurement_on_the_same_gpu_calibrates_first() -> None:
    own = calibration(SDXL, "H100", load_factors())
    elsewhere = calibration(SDXL, "B200", load_factors())

    assert own is not None
    assert elsewhere is not None
    assert (own.own, own.anchor.gpu, own.gpu_s_per_wh is not None) == (True, "H100", True)
    assert (elsewhere.own, elsewhere.gpu_s_per_wh) == (False, None)


def test_between_measured_batches_the_ratio_lies_between_theirs() -> None:
    def ratio(batch: int) -> float:
        found = calibration(replace(SDXL, batch=batch), "H100", load_factors())
        assert found is not None
        return found.ratio

    assert min(ratio(8), ratio(16)) <= ratio(11) <= max(ratio(8), ratio(16))
    assert ratio(512) == ratio(16)


def test_a_network_that_nobody_measured_is_not_calibrated() -> None:
    assert calibration(replace(SDXL, architecture="auraflow"), "H100", load_factors()) is None


def test_quantised_serving_is_never_called_measured() -> None:
    found = calibration(replace(SDXL, precision="quantised"), "H100", load_factors())

    assert found is not None
    assert not found.own
