"""Facts about what came back."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.images.answer import ErrorAnswer, UnreadableAnswer, read_answer


def picture(width: int, height: int, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def answer(**fields: Any) -> bytes:
    return json.dumps({"created": 1, **fields}).encode()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_the_size_is_read_from_the_picture_itself(kind: str) -> None:
    delivered = read_answer(answer(data=[{"b64_json": picture(640, 480, kind)}], size="1024x1024"))

    assert (delivered.images, delivered.width, delivered.height) == (1, 640, 480)


def test_pictures_are_counted_whatever_was_asked() -> None:
    delivered = read_answer(answer(data=[{"b64_json": picture(64, 64)}] * 3 + [{"url": "http://x/1.png"}]))

    assert delivered.images == 4


def test_an_empty_item_is_no_picture() -> None:
    delivered = read_answer(answer(data=[{}, {"b64_json": None}, {"url": ""}, {"revised_prompt": "x"}]))

    assert delivered.images == 0


def test_a_url_answer_has_the_size_that_the_service_echoes() -> None:
    delivered = read_answer(answer(data=[{"url": "http://x/1.png"}], size="1536x1024"))

    assert (delivered.width, delivered.height) == (1536, 1024)
    assert read_answer(answer(data=[{"url": "http://x/1.png"}])).width is None


@pytest.mark.parametrize("place", ["before", "after"])
def test_usage_is_read_before_and_after_the_pictures(place: str) -> None:
    usage = {"input_tokens": 9, "output_tokens": 1756, "output_tokens_details": {"image_tokens": 1756}}
    fields = {"usage": usage, "data": [{"b64_json": picture(64, 64)}]}
    if place == "after":
        fields = dict(reversed(fields.items()))

    delivered = read_answer(answer(**fields))

    assert delivered.output_tokens == 1756
    assert delivered.usage == usage


def test_usage_in_other_shapes_is_kept_as_numbers_and_is_no_token_count() -> None:
    usage = {"prompt_tokens": 3, "cost": 0.01, "model": "secret words", "flag": True}

    delivered = read_answer(answer(data=[{"url": "u"}], usage=usage))

    assert delivered.output_tokens is None
    assert delivered.usage == {"prompt_tokens": 3, "cost": 0.01}


STAGES: list[tuple[dict[str, float], float | None]] = [
    # With the profiler on: one run, with its parts inside it, and the stage's time in milliseconds.
    ({"FluxPipeline.forward": 3.5, "FluxPipeline.diffuse": 3.1, "FluxPipeline.text_encoder.forward": 0.1,
      "queue_wait_ms": 2.0, "preprocess_ms": 1.5, "stage_0_gen_ms": 3621.0}, 3.5),
    # With the profiler off there is only the time from a stage's queue to its end, waiting included.
    ({"queue_wait_ms": 9000.0, "stage_0_gen_ms": 12_621.0}, None),
    # Two stages: the pipeline's run is only a part of the work.
    ({"GlmImagePipeline.forward": 5.8, "stage_0_gen_ms": 19_010.0, "stage_1_gen_ms": 5_850.0}, None),
    ({"GlmImagePipeline.forward": 5.8, "ar_stage_0": 19.0, "stage_1_gen_ms": 5_850.0}, None),
    ({"FluxPipeline.diffuse": 3.1}, None),
    ({}, None),
]  # fmt: skip


@pytest.mark.parametrize(("stages", "seconds"), STAGES)
def test_compute_time_is_that_of_the_one_run_of_the_pipeline(
    stages: dict[str, float], seconds: float | None
) -> None:
    body = answer(data=[{"b64_json": picture(64, 64)}], metrics={"stage_durations": stages})

    delivered = read_answer(body)

    assert delivered.service_seconds == seconds
    assert delivered.says_what_it_took is (seconds is not None)


def test_the_seconds_of_a_worker_are_compute_time() -> None:
    delivered = read_answer(answer(data=[{"b64_json": picture(64, 64)}], inference_time_s=2.5))

    assert delivered.service_seconds == 2.5


def test_a_broken_picture_has_no_size_and_is_still_a_picture() -> None:
    delivered = read_answer(answer(data=[{"b64_json": "!!! not base64 !!!"}, {"b64_json": "aGVsbG8="}]))

    assert (delivered.images, delivered.width) == (2, None)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"error":{"message":"no"}}', b'{"data":5}', b"\xff"]
)
def test_what_is_no_images_answer_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        read_answer(body)


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": []}, {"data": [{}]}])
def test_an_error_in_place_of_pictures_is_told_apart(data: dict[str, Any]) -> None:
    with pytest.raises(ErrorAnswer) as error:
        read_answer(answer(error={"code": 502}, **data))

    assert error.value.error == {"code": 502}
    assert read_answer(answer(error={"code": 502}, data=[{"url": "u"}])).images == 1
    with pytest.raises(UnreadableAnswer, match="no images"):
        read_answer(answer(error=None))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    with contextlib.suppress(UnreadableAnswer):
        assert read_answer(body).images >= 0
