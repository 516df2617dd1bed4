from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.footprint.question import read_question


def read(**fields: Any) -> Any:
    return read_question({"model": "sdxl", **fields})


def test_every_key_reaches_the_work_or_the_site() -> None:
    question = read_question(
        {
            "model": "m", "size": "1024x768", "quality": "high", "steps": 30, "cfg": 2, "strength": 0.5,
            "n": 3, "partial_images": 2, "frames": 4, "input_images": 2, "gpu": "H100", "num_gpus": 2,
            "precision": "bf16", "batch": 8, "provider": "aws", "region": "eu-north-1", "zone": "SE",
            "pue": 1.1, "wue_l_per_kwh": 0.1, "carbon_intensity_g_per_kwh": 20,
            "market_carbon_intensity_g_per_kwh": 0, "gpu_seconds": 9, "node_wh": 7, "output_tokens": 5,
        }
    )  # fmt: skip
    work, site = question.work(), question.site()

    assert (work.model, work.width, work.height, work.quality, work.steps) == ("m", 1024, 768, "high", 30)
    assert (work.guidance_passes, work.strength, work.n, work.partial_images) == (2, 0.5, 3, 2)
    assert (work.frames, work.input_images) == (4, 2)
    assert (work.measured_gpu_seconds, work.measured_node_wh, work.measured_output_tokens) == (9, 7, 5)
    assert (site.gpu, site.num_gpus, site.precision, site.batch) == ("H100", 2, "bf16", 8)
    assert (site.provider, site.region, site.zone) == ("aws", "eu-north-1", "SE")
    assert (site.pue, site.wue_l_per_kwh, site.carbon_intensity_g_per_kwh) == (1.1, 0.1, 20)
    assert site.market_carbon_intensity_g_per_kwh == 0


@pytest.mark.parametrize(
    ("cfg", "passes", "scale"),
    [
        (1, 1, None),
        (2, 2, None),
        (1.0, 1, None),
        (7.5, None, 7.5),
        (3, None, 3.0),
        (0, None, 0.0),
        (1.5, None, 1.5),
    ],
)
def test_cfg_of_1_or_2_counts_forwards_and_any_other_is_a_scale(
    cfg: float, passes: int | None, scale: float | None
) -> None:
    work = read(cfg=cfg).work()

    assert (work.guidance_passes, work.guidance_scale) == (passes, scale)


@pytest.mark.parametrize("open_value", [None, "auto", "AUTO", ""])
def test_null_and_auto_mean_that_nobody_said(open_value: object) -> None:
    question = read(size=open_value, quality=open_value, region=open_value)

    assert (question.size, question.quality, question.region) == (None, None, None)
    assert question.work().width is None


@pytest.mark.parametrize("size", ["512x512", "512X512", "512 x 512", "512*512"])
def test_sizes_are_read_in_common_spellings(size: str) -> None:
    work = read(size=size).work()

    assert (work.width, work.height) == (512, 512)


def test_strength_implies_an_input_image_unless_somebody_counts_them() -> None:
    assert read(strength=0.5).work().input_images == 1
    assert read(strength=0.5, input_images=3).work().input_images == 3
    assert read().work().input_images == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stepz": 5}, "stepz: is not a known key: did you mean 'steps'?"),
        ({"n": 0}, "n: "),
        ({"n": True}, "n: must be a number"),
        ({"steps": "many"}, "steps: "),
        ({"size": "big"}, "size: must be WIDTHxHEIGHT in pixels"),
        ({"size": "0x512"}, "size: must be"),
        ({"pue": 0.5}, "pue: "),
        ({"cfg": float("nan")}, "cfg: "),
        ({"cfg": -1}, "cfg: "),
        ({"strength": 2}, "strength: "),
        ({"model": ""}, "model: "),
        ({"model": None}, "model: is missing"),
    ],
)
def test_a_mistake_is_named_with_its_key(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)

    assert message in str(caught.value)


def test_all_mistakes_come_together_and_no_value_with_them() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(n=-7, steps="secret", colour="red")

    assert all(key in str(caught.value) for key in ("n:", "steps:", "colour:"))
    assert "secret" not in str(caught.value)
