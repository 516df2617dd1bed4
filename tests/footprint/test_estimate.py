from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import Footprint, ImageWork, Range, Site

FLUX_50 = ImageWork("black-forest-labs/FLUX.1-dev", width=1024, height=1024, steps=50)
SDXL_25 = ImageWork("stabilityai/stable-diffusion-xl-base-1.0", width=1024, height=1024, steps=25)
SD35_28 = ImageWork("stabilityai/stable-diffusion-3.5-large", width=1024, height=1024, steps=28)
H100_US = Site(zone="US", gpu="H100", pue=1.15, wue_l_per_kwh=0.375)


def run(work: ImageWork, site: Site = H100_US) -> Footprint:
    return estimate(work, site, load_factors())


def ranges(footprint: Footprint) -> dict[str, Range]:
    names = [
        "energy_wh", "water_ml", "carbon_g", "gpu_energy_wh", "it_energy_wh", "water_onsite_ml",
        "water_offsite_ml", "carbon_use_g", "carbon_embodied_g", "adpe_mg_sbeq",
    ]  # fmt: skip
    return {name: value for name in names if (value := getattr(footprint, name)) is not None}


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (SDXL_25, (0.50, 0.16, 1.6, 0.19, 0.039)),
        (SD35_28, (2.26, 0.71, 7.1, 0.87, 0.11)),
        (FLUX_50, (4.06, 1.3, 12.7, 1.56, 0.20)),
    ],
    ids=["sdxl", "sd3.5-large", "flux.1-dev"],
)
def test_the_worked_examples_of_the_methodology_come_out(
    work: ImageWork, expected: tuple[float, ...]
) -> None:
    energy, onsite, offsite, use, embodied = expected
    footprint = run(work)

    assert footprint.energy_wh.central == pytest.approx(energy, rel=0.02)
    assert footprint.water_onsite_ml.central == pytest.approx(onsite, rel=0.04)
    assert footprint.water_offsite_ml.central == pytest.approx(offsite, rel=0.04)
    assert footprint.carbon_use_g.central == pytest.approx(use, rel=0.02)
    assert footprint.carbon_embodied_g is not None
    assert footprint.carbon_embodied_g.central == pytest.approx(embodied, rel=0.05)


@pytest.mark.parametrize(
    ("zone", "factors", "expected"),
    [
        ("FR", (0.27, 31), (0.95, 14.9, 0.13)),
        ("SE", (0.02, 21), (0.07, 24.5, 0.085)),
        ("WORLD", (0.375, 473), (1.3, 19.5, 1.92)),
    ],
)
def test_the_worked_zones_of_the_methodology_come_out(
    zone: str, factors: tuple[float, float], expected: tuple[float, ...]
) -> None:
    (wue, intensity), (onsite, offsite, use) = factors, expected
    site = Site(zone=zone, gpu="H100", pue=1.15, wue_l_per_kwh=wue, carbon_intensity_g_per_kwh=intensity)

    footprint = run(FLUX_50, site)

    assert footprint.water_onsite_ml.central == pytest.approx(onsite, rel=0.04)
    assert footprint.water_offsite_ml.central == pytest.approx(offsite, rel=0.01)
    assert footprint.carbon_use_g.central == pytest.approx(use, rel=0.04)
    assert (
        footprint.water_ml.central == footprint.water_onsite_ml.central + footprint.water_offsite_ml.central
    )


def test_it_energy_and_cooling_water_follow_the_published_gemini_figure() -> None:
    """Elsworth et al. 2025: 0.24 Wh at PUE 1.09 and 1.15 L per IT kWh are about 0.26 mL on site."""
    footprint = run(
        ImageWork("FLUX.1-dev", measured_node_wh=0.24 / 1.09),
        Site(provider="google", pue=1.09, wue_l_per_kwh=1.15),
    )

    assert footprint.energy_wh.central == pytest.approx(0.24)
    assert footprint.it_energy_wh.central == pytest.approx(0.220, abs=0.001)
    assert footprint.water_onsite_ml.central == pytest.approx(0.253, abs=0.001)


def test_water_equals_that_of_ecologits_for_the_same_inputs() -> None:
    """EcoLogits: water = E_IT * (WUE + PUE * EWIF)."""
    footprint = run(
        ImageWork("FLUX.1-dev", measured_node_wh=1.0), Site(zone="US", pue=1.2, wue_l_per_kwh=0.569)
    )

    assert footprint.water_ml.central == pytest.approx(1.0 * (0.569 + 1.2 * 3.1321), rel=1e-4)
    assert footprint.water_ml.central == pytest.approx(4.3275, rel=1e-3)


def test_a_request_pays_for_all_its_images() -> None:
    one, four = run(FLUX_50), run(replace(FLUX_50, n=4))

    assert four.images == 4
    for name, value in ranges(four).items():
        assert value.central == pytest.approx(4 * ranges(one)[name].central)


@pytest.mark.parametrize(
    ("quality", "energy", "high"), [("low", 0.22, 0.75), ("medium", 1.9, 6.7), ("high", 7.7, 26.7)]
)
def test_gpt_image_2_has_the_published_band(quality: str, energy: float, high: float) -> None:
    footprint = run(
        ImageWork("gpt-image-2", width=1024, height=1024, quality=quality), Site(provider="openai")
    )

    assert footprint.method == "tokens"
    assert footprint.energy_wh.central == pytest.approx(energy, rel=0.03)
    assert footprint.energy_wh.high == pytest.approx(high, rel=0.03)


def test_measured_tokens_cover_all_images_and_partials() -> None:
    work = ImageWork("gpt-image-2", n=3, partial_images=2, quality="low", measured_output_tokens=1000)

    assert run(work).energy_wh.central == pytest.approx(1.1)


def test_a_partial_image_costs_a_hundred_tokens_per_image() -> None:
    work = ImageWork("gpt-image-2", n=2, width=1024, height=1024, quality="low")

    extra = run(replace(work, partial_images=3)).energy_wh.central - run(work).energy_wh.central
    assert extra == pytest.approx(2 * 3 * 100 * 1.1 / 1000)


def test_zero_reported_tokens_are_no_measurement() -> None:
    work = ImageWork("gpt-image-2", width=1024, height=1024, quality="low")

    assert run(replace(work, measured_output_tokens=0)) == run(work)


def test_the_best_method_wins() -> None:
    work = replace(FLUX_50, measured_gpu_seconds=11.6, measured_node_wh=3.5)

    assert run(work).method == "metered"
    assert run(replace(work, measured_node_wh=None)).method == "gpu_time"
    assert run(FLUX_50).method == "anchor"
    assert run(FLUX_50, Site(gpu="L40S")).method == "flops"
    assert run(ImageWork("gpt-image-2")).method == "tokens"
    assert run(ImageWork("imagen-4.0-generate-001")).method == "proxy"


def test_a_meter_reading_has_no_gpu_part() -> None:
    footprint = run(replace(FLUX_50, n=2, measured_node_wh=7.0))

    assert footprint.gpu_energy_wh is None
    assert footprint.energy_wh.central == pytest.approx(7.0 * 1.15)
    assert "gpu_energy_wh" not in footprint.as_json()["parts"]


def test_an_unknown_model_costs_a_conservative_proxy_and_says_so() -> None:
    footprint = run(ImageWork("acme/never-heard-of-it"))

    assert footprint.method == "proxy"
    assert footprint.energy_wh.central > run(SD35_28).energy_wh.central
    assert footprint.warnings[0].startswith("unknown_model:")
    assert "acme" not in str(footprint.as_json(explain=True))


def test_a_model_newer_than_its_rule_is_wider_and_says_so() -> None:
    known = run(ImageWork("gpt-image-2.5-sunburst", width=1024, height=1024, quality="high"))
    newer = run(ImageWork("gpt-image-2.6-sunburst", width=1024, height=1024, quality="high"))

    assert newer.energy_wh.central == known.energy_wh.central
    assert newer.energy_wh.high > known.energy_wh.high
    assert newer.warnings[0].startswith("uncertain_model:")
    assert not known.warnings


def test_an_unknown_gpu_is_wider_than_a_known_one() -> None:
    known, unknown = run(SDXL_25), run(SDXL_25, replace(H100_US, gpu=None))

    assert unknown.energy_wh.high > known.energy_wh.high
    assert any("GPU not given" in sentence for sentence in unknown.assumptions)


def test_left_open_values_become_the_servers_default_or_the_largest_legal_value() -> None:
    assert run(ImageWork("sdxl")).energy_wh.central == pytest.approx(
        run(replace(SDXL_25, steps=50)).energy_wh.central
    )
    largest = run(ImageWork("gpt-image-2", quality="auto"))
    assert largest.energy_wh.central >= max(
        run(ImageWork("gpt-image-2", width=w, height=h, quality="high")).energy_wh.central
        for w, h in [(1024, 1024), (2048, 2048), (3840, 2160), (2880, 2880), (2160, 3840)]
    )
    assert any("largest legal quality" in sentence for sentence in largest.assumptions)
    assert any("largest legal size" in sentence for sentence in largest.assumptions)


def test_every_factor_has_a_source_and_every_step_lists_known_factors() -> None:
    for work in (
        FLUX_50,
        ImageWork("gpt-image-2"),
        ImageWork("nobody"),
        replace(FLUX_50, measured_node_wh=1.0),
    ):
        footprint = run(work)
        known = {factor.id for factor in footprint.factors}
        assert len(known) == len(footprint.factors)
        assert all(factor.source and math.isfinite(factor.value) for factor in footprint.factors)
        assert all(set(step.factors) <= known for step in footprint.steps)


def test_the_total_can_be_recomputed_from_the_factors() -> None:
    footprint = run(replace(FLUX_50, measured_gpu_seconds=10.0))
    factor = {entry.id: entry.value for entry in footprint.factors}

    it_wh = 10.0 * factor["gpu.H100.power_w"] / 3600 * factor["chain.k_it"]
    facility_wh = it_wh * factor["pue.site"]
    life_s = factor["server.lifetime"] * factor["server.utilisation"]
    kg = factor["server.embodied"] / 8 + factor["gpu.H100.embodied_kg"]
    assert footprint.energy_wh.central == pytest.approx(facility_wh)
    assert footprint.water_ml.central == pytest.approx(
        it_wh * factor["wue.site"] + facility_wh * factor["grid.US.ewif"]
    )
    assert footprint.carbon_g.central == pytest.approx(
        facility_wh * factor["grid.US.gco2e"] / 1000 + 10.0 * kg * 1000 / life_s
    )


def test_the_json_shape_is_fixed() -> None:
    plain, explained = run(FLUX_50).as_json(), run(FLUX_50).as_json(explain=True)

    assert set(plain) == {
        "energy_wh", "water_ml", "carbon_g", "images", "method", "method_rank", "parts", "zone",
        "water_basis", "carbon_basis", "factor_set", "factors", "assumptions", "warnings",
    }  # fmt: skip
    assert plain["energy_wh"].keys() == {"low", "central", "high"}
    assert all(isinstance(factor, str) for factor in plain["factors"])
    assert plain["parts"]["water_embodied_ml"] is None
    assert set(explained) == {*plain, "steps", "boundary"}
    assert explained["factors"][0].keys() == {"id", "value", "unit", "source", "year", "note"}


MODELS = st.sampled_from(
    ["gpt-image-1", "gpt-image-1-mini", "gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2.6-flare",
     "flux.1-dev",
     "flux.1-schnell", "flux.2-dev", "sdxl", "sdxl-turbo", "sd-1.5", "sd3.5-large", "sana", "qwen-image",
     "z-image-turbo", "kandinsky-2.2", "gemini-2.5-flash-image", "gemini-3-pro-image", "imagen-4",
     "who-knows"]
)  # fmt: skip
EDGES = st.integers(min_value=16, max_value=4096)
SITES = st.builds(
    Site,
    provider=st.sampled_from([None, "openai", "aws", "azure", "gcp", "self", "nobody"]),
    region=st.sampled_from(
        [None, "eu-north-1", "us-central1", "swedencentral", "indiasouthcentral", "mars-1"]
    ),
    zone=st.sampled_from([None, "FR", "US-MIDA-PJM", "SE", "SGP", "??", "WORLD", "CA-QC"]),
    gpu=st.sampled_from([None, "H100", "A100-SXM4-40GB", "b200", "RTX 4090", "MI300X", "abacus"]),
    precision=st.sampled_from([None, "bf16", "fp32", "fp8", "nonsense"]),
    batch=st.sampled_from([None, 1, 3, 16, 512]),
    num_gpus=st.sampled_from([None, 1, 8]),
)
WORKS = st.builds(
    ImageWork,
    model=MODELS,
    n=st.integers(1, 16),
    width=st.none() | EDGES,
    height=st.none() | EDGES,
    quality=st.sampled_from(
        [None, "auto", "low", "medium", "high", "xhigh", "max", "hd", "standard", "absurd"]
    ),
    steps=st.none() | st.integers(1, 200),
    strength=st.none() | st.floats(0, 1),
    partial_images=st.integers(0, 3),
    frames=st.integers(1, 16),
    input_images=st.integers(0, 4),
)


@given(WORKS, SITES)
@settings(max_examples=200, deadline=None)
def test_every_estimate_is_finite_positive_and_ordered(work: ImageWork, site: Site) -> None:
    footprint = run(work, site)

    for name, value in ranges(footprint).items():
        assert all(math.isfinite(bound) for bound in (value.low, value.central, value.high)), name
        assert value.low <= value.central <= value.high, name
        assert value.low > 0 or name == "water_onsite_ml", name


@given(WORKS, SITES, st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_more_work_never_costs_less(work: ImageWork, site: Site, more: int) -> None:
    """Larger at the same shape: gpt-image-2 gives a wide picture fewer tokens than a square one."""
    base = run(work, site).energy_wh.central * (1 - 1e-9)
    larger = [
        replace(work, n=work.n + more),
        replace(work, frames=work.frames + more),
        replace(work, partial_images=work.partial_images + more),
    ]
    if work.strength is None or work.input_images:
        larger.append(replace(work, input_images=work.input_images + more))
    if work.steps:
        larger.append(replace(work, steps=work.steps + more))
    if work.width and work.height:
        larger.append(replace(work, width=work.width * (1 + more), height=work.height * (1 + more)))
    for bigger in larger:
        assert run(bigger, site).energy_wh.central >= base, bigger


@given(WORKS, SITES)
@settings(max_examples=100, deadline=None)
def test_better_quality_never_costs_less(work: ImageWork, site: Site) -> None:
    rising = ["low", "medium", "high", "xhigh", "max"]
    costs = [run(replace(work, quality=quality), site).energy_wh.central for quality in rising]

    assert costs == sorted(costs)


@given(WORKS)
@settings(max_examples=50, deadline=None)
def test_an_open_value_never_costs_less_than_the_models_own_default(work: ImageWork) -> None:
    given_auto = run(replace(work, quality=None)).energy_wh.central

    for quality in ("low", "medium", "high"):
        assert given_auto >= run(replace(work, quality=quality)).energy_wh.central
