from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.footprint.catalogue import resolve
from gateway.footprint.factors import load_factors
from gateway.footprint.methods import energy_of
from gateway.footprint.quantities import ImageWork, Site

if TYPE_CHECKING:
    from gateway.footprint.method_energy import MethodEnergy

H100 = Site(gpu="H100", precision="bf16", batch=1)


def energy(work: ImageWork, site: Site = H100) -> MethodEnergy:
    factors = load_factors()
    return energy_of(work, resolve(work, factors), site, factors)


def test_measurements_come_before_what_was_asked_in_order_of_trust() -> None:
    asked = ImageWork("sdxl", width=1024, height=1024, steps=25)
    timed = ImageWork("sdxl", measured_gpu_seconds=9.0)
    metered = ImageWork("sdxl", measured_gpu_seconds=9.0, measured_node_wh=3.0)

    assert [energy(work).method for work in (metered, timed, asked)] == ["metered", "gpu_time", "anchor"]
    assert [energy(work).level for work in (metered, timed, asked)] == ["it", "gpu", "gpu"]


@pytest.mark.parametrize("nothing", [0, 0.0, -1.0, None])
def test_a_measurement_of_nothing_is_none(nothing: float | None) -> None:
    assert energy(ImageWork("sdxl", measured_node_wh=nothing)).method == "anchor"


def test_gpu_time_times_power_is_energy() -> None:
    found = energy(ImageWork("sdxl", measured_gpu_seconds=3600.0))

    assert (found.wh, found.gpu_seconds) == (650.0, 3600.0)


def test_gpu_time_on_an_unknown_gpu_is_wider() -> None:
    work = ImageWork("sdxl", measured_gpu_seconds=9.0)

    assert energy(work, Site()).spread.up > energy(work).spread.up


def test_a_meter_beside_gpu_time_uses_the_time_for_manufacture() -> None:
    assert energy(ImageWork("sdxl", measured_node_wh=3.0, measured_gpu_seconds=9.0)).gpu_seconds == 9.0
    assert energy(ImageWork("sdxl", measured_node_wh=3.0)).gpu_seconds is None


def test_tokens_count_images_frames_and_previews() -> None:
    one = energy(ImageWork("gpt-image-2", width=1024, height=1024, quality="low"))
    many = energy(
        ImageWork("gpt-image-2", n=2, frames=3, width=1024, height=1024, quality="low", partial_images=1)
    )

    assert one.inputs["output_tokens"] == 196
    assert many.inputs["output_tokens"] == 2 * (3 * 196 + 100)


@pytest.mark.parametrize(
    "wider",
    [
        ImageWork("gpt-image-1", width=2048, height=2048, quality="low"),
        ImageWork("gpt-image-2.6-flare", width=1024, height=1024, quality="low"),
        ImageWork("gpt-image-1", width=1024, height=1024, quality="low", input_images=1),
    ],
)
def test_what_no_token_rule_covers_is_wider(wider: ImageWork) -> None:
    known = energy(ImageWork("gpt-image-1", width=1024, height=1024, quality="low"))

    assert energy(wider).spread.up > known.spread.up


def test_a_closed_model_costs_the_proxy_at_its_size_and_at_least_28_steps() -> None:
    def proxy(edge: int | None, steps: int | None = None) -> float:
        return energy(ImageWork("imagen-4", width=edge, height=edge, steps=steps)).wh

    assert proxy(1024) == pytest.approx(1.2)
    assert proxy(1024, steps=8) == pytest.approx(1.2)
    assert proxy(1024, steps=56) == pytest.approx(2.4)
    assert proxy(2048) > 5 * proxy(1024)
    assert proxy(None) == proxy(1024)


def test_an_unknown_model_is_wider_than_a_closed_one() -> None:
    closed, unknown = (energy(ImageWork(name, width=1024, height=1024)) for name in ("imagen-4", "who-knows"))

    assert unknown.spread.up > closed.spread.up
    assert unknown.warnings[0].startswith("unknown_model:")
    assert energy(ImageWork("who-knows")).wh > unknown.wh
