from __future__ import annotations

import pytest

from gateway.footprint.bands import Spread
from gateway.footprint.chain import chain_uses, gpu_seconds, levels, machine
from gateway.footprint.factors import load_factors
from gateway.footprint.hardware import find_hardware, fit_of
from gateway.footprint.method_energy import MethodEnergy
from gateway.footprint.places import find_place
from gateway.footprint.quantities import Site

SITE = Site(zone="US", gpu="H100", pue=1.2, wue_l_per_kwh=0.5)
SPREAD = Spread(0.1, 0.1)


def energy(level: str, wh: float = 2.0, seconds: float | None = None) -> MethodEnergy:
    return MethodEnergy(
        method="flops",
        level=level,  # type: ignore[arg-type]  # parametrised
        wh=wh,
        spread=SPREAD,
        formula="",
        inputs={},
        gpu=find_hardware(SITE, load_factors()).gpu,
        gpu_seconds=seconds,
    )


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("gpu", (2.0, 2.0 * 1.6, 2.0 * 1.6 * 1.2)),
        ("it", (2.0 / 1.6, 2.0, 2.0 * 1.2)),
        ("facility", (2.0 / 1.2 / 1.6, 2.0 / 1.2, 2.0)),
    ],
)
def test_the_three_levels_follow_from_the_one_that_is_seen(level: str, expected: tuple[float, ...]) -> None:
    factors = load_factors()
    found = levels(energy(level), find_place(SITE, factors), factors)

    assert (found.gpu_wh, found.it_wh, found.facility_wh) == pytest.approx(expected)


def test_a_level_that_is_seen_is_surer_than_one_that_is_derived() -> None:
    factors = load_factors()
    place = find_place(SITE, factors)
    seen_gpu, seen_node = (levels(energy(level), place, factors) for level in ("gpu", "it"))

    assert seen_gpu.gpu_spread == SPREAD
    assert seen_node.it_spread == SPREAD
    assert seen_gpu.it_spread.up > SPREAD.up
    assert seen_node.gpu_spread.up > SPREAD.up
    assert seen_gpu.facility_spread.up > seen_node.facility_spread.up


def test_gpu_time_is_measured_or_energy_over_power() -> None:
    assert gpu_seconds(energy("gpu", seconds=11.0), 2.0) == 11.0
    assert gpu_seconds(energy("gpu"), 2.0) == pytest.approx(2.0 * 3600 / 650)


def test_a_second_of_an_h100_carries_the_published_share_of_its_manufacture() -> None:
    """(5700 / 8 + 273) / 94.6e6 s / 0.6 is 17.4 mg of CO2e; 0.97 micrograms of Sb eq."""
    made = machine(fit_of(load_factors().gpus["H100"], load_factors()), load_factors())

    assert made.carbon_kg * made.share_per_s * 1e6 == pytest.approx(10.4 / 0.6, rel=0.01)
    assert made.adpe_kg * made.share_per_s * 1e9 == pytest.approx(0.58 / 0.6, rel=0.01)


def test_a_card_without_published_manufacture_is_made_like_an_h100_and_says_so() -> None:
    factors = load_factors()
    made = machine(fit_of(factors.gpus["MI300X"], factors), factors)

    assert made.gpu_carbon.value == 273
    assert "that of H100" in (made.gpu_carbon.note or "")


def test_every_factor_of_the_chain_is_listed_once() -> None:
    factors = load_factors()
    site = Site(zone="US-CAL-CISO", gpu="H100", market_carbon_intensity_g_per_kwh=1.0)
    uses = [use.id for use in chain_uses(energy("gpu"), find_place(site, factors), factors)]

    assert len(uses) == len(set(uses))
    assert {"chain.k_it", "grid.lifecycle_ratio_us", "market.site.gco2e", "gpu.H100.power_w"} <= set(uses)
    metered = chain_uses(energy("it", seconds=3.0), find_place(site, factors), factors)
    assert "chain.k_it" not in [use.id for use in metered]
