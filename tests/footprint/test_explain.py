from __future__ import annotations

import math
import re

import pytest

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import Footprint, ImageWork, Site

FLUX = ImageWork("flux.1-dev", n=2, width=1024, height=1024, steps=50)
H100 = Site(region="us-west-1", gpu="H100", precision="bf16", batch=2)
CASES = {
    "metered": (ImageWork("sdxl", measured_node_wh=3.0), H100),
    "gpu_time": (ImageWork("sdxl", measured_gpu_seconds=9.0), H100),
    "anchor": (FLUX, H100),
    "flops": (FLUX, Site(zone="FR", gpu="L40S", precision="fp32", num_gpus=4)),
    "tokens": (ImageWork("gpt-image-2", partial_images=1), Site(provider="openai")),
    "proxy": (ImageWork("imagen-4", steps=40), Site(provider="gcp", gpu="A100", num_gpus=2)),
    "market": (FLUX, Site(zone="SE", gpu="H100", market_carbon_intensity_g_per_kwh=0.5)),
}


def run(name: str) -> Footprint:
    work, site = CASES[name]
    return estimate(work, site, load_factors())


def recomputed(formula: str, inputs: dict[str, float]) -> float:
    """The right-hand side of a step's formula with its own numbers."""
    right = formula.split(" = ", 1)[1].split(",", maxsplit=1)[0]
    names = sorted(inputs, key=len, reverse=True)
    for name in names:
        right = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", repr(inputs[name]), right)
    assert not re.search(r"[A-Za-z_]{2,}", right), right
    return float(eval(right, {"__builtins__": {}}))


@pytest.mark.parametrize("name", CASES)
def test_every_step_can_be_recomputed_from_its_own_numbers(name: str) -> None:
    for step in run(name).steps:
        assert recomputed(step.formula, dict(step.inputs)) == pytest.approx(step.value.central), step.name


@pytest.mark.parametrize("name", CASES)
def test_every_step_names_factors_that_the_footprint_lists_with_a_source(name: str) -> None:
    footprint = run(name)
    sources = {factor.id: factor.source for factor in footprint.factors}

    for step in footprint.steps:
        assert step.factors, step.name
        assert all(sources[factor] for factor in step.factors), step.name


@pytest.mark.parametrize("name", CASES)
def test_the_chain_ends_in_the_figures_of_the_footprint(name: str) -> None:
    footprint = run(name)
    steps = {step.name: step.value for step in footprint.steps}

    assert steps["water_onsite"] == footprint.water_onsite_ml
    assert steps["water_offsite"] == footprint.water_offsite_ml
    assert steps["carbon_use"] == footprint.carbon_use_g
    assert steps["carbon_embodied"] == footprint.carbon_embodied_g
    assert footprint.carbon_g.central == pytest.approx(
        steps["carbon_use"].central + steps["carbon_embodied"].central
    )
    assert all(math.isfinite(value.high) for value in steps.values())


def test_steps_run_from_the_level_that_was_seen() -> None:
    def names(case: str) -> list[str]:
        return [step.name for step in run(case).steps][:3]

    assert names("anchor") == ["anchor", "it_energy", "energy"]
    assert names("tokens") == ["tokens", "it_energy", "gpu_energy"]
    assert names("metered")[:2] == ["metered", "energy"]


def test_a_market_account_is_a_step_beside_the_others() -> None:
    with_market, without = run("market"), estimate(FLUX, Site(zone="SE", gpu="H100"), load_factors())

    assert "carbon_use_market" in [step.name for step in with_market.steps]
    assert with_market.carbon_g == without.carbon_g
    assert with_market.carbon_use_g == without.carbon_use_g
    assert with_market.carbon_use_market_g is not None
    assert with_market.carbon_use_market_g.central == pytest.approx(
        with_market.energy_wh.central * 0.5 / 1000
    )
