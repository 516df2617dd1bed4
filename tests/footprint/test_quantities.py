from __future__ import annotations

import json

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import BOUNDARY, METHOD_RANKS, Footprint, ImageWork, Range, Site


def footprint(work: ImageWork, site: Site | None = None) -> Footprint:
    return estimate(work, site or Site(zone="FR", gpu="H100"), load_factors())


def test_water_of_manufacture_is_null_and_never_zero() -> None:
    shown = footprint(ImageWork("sdxl")).as_json()

    assert shown["parts"]["water_embodied_ml"] is None
    assert 0 not in [part["central"] for part in shown["parts"].values() if part]


def test_an_unknown_part_is_absent() -> None:
    parts = footprint(ImageWork("sdxl")).as_json()["parts"]

    assert "carbon_use_market_g" not in parts


def test_the_gpu_energy_of_one_image_is_the_share_of_all() -> None:
    work = ImageWork("sdxl", n=4, width=1024, height=1024, steps=25)
    each, whole = footprint(work).gpu_energy_wh_per_image, footprint(work).gpu_energy_wh

    assert each is not None
    assert whole is not None
    assert each == Range(whole.low / 4, whole.central / 4, whole.high / 4)


def test_behind_a_meter_nobody_knows_the_gpu_energy() -> None:
    assert footprint(ImageWork("sdxl", measured_node_wh=1.0)).gpu_energy_wh_per_image is None


def test_an_explained_footprint_is_plain_json_with_its_boundary() -> None:
    shown = footprint(ImageWork("gpt-image-2")).as_json(explain=True)

    assert json.loads(json.dumps(shown)) == shown
    assert shown["boundary"] == BOUNDARY
    assert {"training", "end of life"} <= set(shown["boundary"]["excluded"])


def test_methods_are_ranked_in_order_of_trust() -> None:
    assert list(METHOD_RANKS) == ["metered", "gpu_time", "anchor", "flops", "tokens", "proxy"]
    assert list(METHOD_RANKS.values()) == sorted(METHOD_RANKS.values())


def test_two_footprints_of_one_question_are_equal() -> None:
    assert footprint(ImageWork("sdxl")) == footprint(ImageWork("sdxl"))
