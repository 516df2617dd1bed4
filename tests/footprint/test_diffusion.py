from __future__ import annotations

from dataclasses import replace
from math import log2
from typing import TYPE_CHECKING

import pytest

from gateway.footprint.catalogue import resolve
from gateway.footprint.diffusion import diffusion_energy, flops_use
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Site

if TYPE_CHECKING:
    from gateway.footprint.method_energy import MethodEnergy

SDXL = ImageWork("sdxl", width=1024, height=1024, steps=25)
H100 = Site(gpu="H100", precision="bf16", batch=1)


def energy(work: ImageWork = SDXL, site: Site = H100) -> MethodEnergy:
    factors = load_factors()
    return diffusion_energy(work, resolve(work, factors), site, factors)


def test_a_measured_condition_costs_what_was_measured() -> None:
    assert energy().wh == pytest.approx(0.269267)
    assert energy().gpu_seconds == pytest.approx(2.258)
    assert energy().method == "anchor"


def test_another_gpu_or_precision_is_called_flops() -> None:
    assert energy(site=replace(H100, gpu="B200")).method == "flops"
    assert energy(site=replace(H100, gpu="L40S")).method == "flops"
    assert energy(site=replace(H100, precision="fp8")).method == "flops"
    assert energy(site=replace(H100, gpu=None)).method == "flops"


def test_energy_is_linear_in_steps_and_images() -> None:
    one = energy().wh

    assert energy(replace(SDXL, n=3, frames=2)).wh == pytest.approx(6 * one)
    assert energy(replace(SDXL, steps=50)).wh == pytest.approx(2 * one, rel=0.03)


def test_farther_from_the_measured_size_is_wider() -> None:
    near, far = energy(), energy(replace(SDXL, width=2048, height=2048))

    assert far.wh > 4 * near.wh
    assert far.spread.up > near.spread.up


def test_the_aspect_ratio_does_not_matter_at_equal_pixels() -> None:
    square, wide = energy(), energy(replace(SDXL, width=2048, height=512))

    assert wide.wh == pytest.approx(square.wh)


def test_what_nobody_said_widens() -> None:
    known = energy().spread
    unsaid = [
        energy(replace(SDXL, steps=None)),
        energy(site=replace(H100, precision=None)),
        energy(site=replace(H100, batch=None)),
        energy(site=replace(H100, gpu=None)),
    ]

    assert all(found.spread.down > known.down and found.spread.up > known.up for found in unsaid)


@pytest.mark.parametrize("few", ["flux.1-schnell", "sdxl-turbo", "sd3.5-large-turbo", "z-image-turbo"])
def test_few_step_models_are_extrapolated_and_wide(few: str) -> None:
    found = energy(ImageWork(few, width=1024, height=1024, steps=4))

    assert found.spread.up >= 0.40
    assert found.warnings[0].startswith("few_step_model:")


def test_a_few_step_model_run_for_longer_is_no_longer_extrapolated() -> None:
    assert energy(ImageWork("sdxl-turbo", width=1024, height=1024, steps=25)).warnings == ()


def test_a_preview_decodes_the_picture_once_more() -> None:
    assert energy(replace(SDXL, partial_images=2)).inputs["runs"] == 3
    assert energy(replace(SDXL, partial_images=2)).wh > energy().wh


def test_input_images_are_encoded_and_for_some_models_joined_to_the_sequence() -> None:
    edit = energy(replace(SDXL, input_images=1))
    joined = energy(ImageWork("flux.1-kontext-dev", width=1024, height=1024, steps=28, input_images=1))
    alone = energy(ImageWork("flux.1-kontext-dev", width=1024, height=1024, steps=28))

    assert edit.inputs["runs"] == 2
    assert edit.inputs["F"] == energy().inputs["F"]
    assert joined.inputs["F"] > 2 * alone.inputs["F"]


def test_strength_shortens_an_edit() -> None:
    whole, half = (energy(replace(SDXL, input_images=1, strength=s)).wh for s in (1.0, 0.5))

    assert half == pytest.approx(whole / 2, rel=0.1)


def test_gpus_that_share_an_image_wait_for_each_other() -> None:
    one, eight = energy(), energy(site=replace(H100, num_gpus=8))

    assert eight.wh == pytest.approx(one.wh * (1 + 0.17 * log2(8)) + 7 * 0.012 * 700 * 25 / 3600)
    assert eight.spread.up > one.spread.up


def test_counted_work_is_shown_at_its_size() -> None:
    use = flops_use("sdxl", 1024, 1024, load_factors())

    assert use.id == "flops.sdxl"
    assert use.value == pytest.approx(6.761)
    assert use.unit == "TFLOP per forward at 1024x1024"
    assert use.source.startswith("Counted with torch")
