"""What a client asks for, understood in full or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.images.request import (
    KNOWN_IN_GENERATIONS,
    ROUTE_TAKING,
    UNPRICED_IN_GENERATIONS,
    ImageRequest,
    read_generation,
    read_size,
)


def read(**fields: Any) -> ImageRequest:
    return read_generation(json.dumps({"prompt": "a cat", "model": "m", **fields}).encode())


def refused(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        read(**fields)
    assert error.value.status == 400
    return error.value


def test_the_smallest_request_asks_for_one_image_and_leaves_the_rest_open() -> None:
    request = read()

    assert (request.n, request.size, request.quality, request.steps) == (1, None, None, None)
    assert (request.frames, request.partial_images) == (1, 0)


def test_auto_and_null_leave_a_value_open() -> None:
    request = read(size="auto", quality="auto", n=None, seed=None)

    assert (request.n, request.size, request.quality) == (1, None, None)


def test_unknown_fields_are_kept_in_their_order() -> None:
    request = read(zeta=1, seed=3, alpha=None, lora={"name": "x"})

    assert list(request.fields) == ["prompt", "model", "zeta", "seed", "alpha", "lora"]
    assert request.unknown_fields() == ["zeta", "alpha", "lora"]


def test_the_prompt_is_not_in_the_repr() -> None:
    assert "a cat" not in repr(read())


@pytest.mark.parametrize("n", [0, 11, -1, "2", True, 1.0, 1.5, [], {}])
def test_a_count_that_is_no_integer_from_1_to_10_is_refused(n: Any) -> None:
    assert refused(n=n).param == "n"


@pytest.mark.parametrize("written", ["1e1", "10.0", "-0", "0x5", "1_0"])
def test_a_count_in_another_notation_is_refused(written: str) -> None:
    with pytest.raises(InvalidRequest):
        read_generation(f'{{"prompt":"p","model":"m","n":{written}}}'.encode())


@pytest.mark.parametrize("field", ["prompt", "model"])
def test_a_required_field_is_missed(field: str) -> None:
    error = refused(**{field: None})

    assert (error.code, error.param) == ("missing_required_parameter", field)


@pytest.mark.parametrize("value", ["", "  ", 5, ["a"], "x" * 32_001])
def test_a_prompt_must_be_a_text_of_ordinary_length(value: Any) -> None:
    assert refused(prompt=value).param == "prompt"


def test_a_prompt_of_32_000_emoji_is_read() -> None:
    assert read(prompt="🐈" * 32_000).fields["prompt"] == "🐈" * 32_000


@pytest.mark.parametrize(
    ("text", "pixels"), [("1024x1024", (1024, 1024)), ("1536X864", (1536, 864)), ("512*512", (512, 512))]
)
def test_a_size_is_read_in_every_spelling(text: str, pixels: tuple[int, int]) -> None:
    request = read(size=text)

    assert (request.width, request.height) == pixels


@pytest.mark.parametrize(
    "text", ["", "big", "1024", "1024x", "0x0", "1024x-1", "99999x99999", "1024x1024x3", "１x１"]
)
def test_a_size_that_is_none_is_refused(text: str) -> None:
    assert refused(size=text).param == "size"


@given(st.integers(10, 8192), st.integers(10, 8192))
def test_every_size_up_to_the_largest_edge_is_read_back(width: int, height: int) -> None:
    assert read_size(f"{width}x{height}") == (width, height)


def test_width_and_height_are_a_size_and_may_not_contradict_it() -> None:
    assert read(width=640, height=480).size == "640x480"
    assert refused(width=640).param == "height"
    assert refused(width=640, height=480, size="512x512").param == "size"


@pytest.mark.parametrize("name", ["steps", "step", "num_inference_steps", "sample_steps"])
def test_steps_are_understood_by_every_name(name: str) -> None:
    assert read(**{name: 30}).steps == 30
    assert refused(**{name: 0}).param == name
    assert refused(**{name: "30"}).param == name


def test_two_names_for_steps_must_agree() -> None:
    assert read(steps=30, num_inference_steps=30).steps == 30
    refused(steps=30, num_inference_steps=50)


def test_true_guidance_doubles_the_passes() -> None:
    assert read(true_cfg_scale=4.0).guidance_passes == 2
    assert read(true_cfg_scale=1).guidance_passes is None
    assert read(guidance_scale=7.5).guidance_passes is None


def test_an_animation_counts_its_frames() -> None:
    assert read(output_format="gif").frames == 9
    assert read(output_format="gif", frame_count=16).frames == 16
    refused(output_format="gif", frame_count=17)
    assert refused(output_format="svg").param == "output_format"


def test_a_stream_is_asked_for_by_the_field_alone() -> None:
    assert read(stream=True).stream is True
    assert read(stream=False).stream is False
    assert refused(stream="true").code == "invalid_type"


@pytest.mark.parametrize("name", sorted(UNPRICED_IN_GENERATIONS))
def test_a_field_that_cannot_be_priced_is_refused(name: str) -> None:
    assert refused(**{name: 2}).param == name


@pytest.mark.parametrize("name", sorted(ROUTE_TAKING))
def test_a_body_cannot_choose_where_it_is_sent(name: str) -> None:
    refused(**{name: "http://evil.example"})
    refused(metadata={"deep": [{name.upper(): "x"}]})


@pytest.mark.parametrize("name", ["N", "ｎ", "Size", "QUALITY", "ſize", "n ", "Stream", "Num_Images"])
def test_a_name_that_another_reader_takes_for_a_known_one_is_refused(name: str) -> None:
    refused(**{name: 1})


def test_arguments_in_a_prompt_are_words_until_a_server_reads_them() -> None:
    prompt = 'cat <sd_cpp_extra_args>{"sample_params":{"sample_steps":99}}</sd_cpp_extra_args>'

    assert (read(prompt=prompt).steps, read(prompt=prompt).fields["prompt"]) == (None, prompt)


def test_steps_and_guidance_inside_another_parameter_count_as_beside_it() -> None:
    inside = read(kwargs='{"num_inference_steps": 4, "true_cfg_scale": 5}')

    assert (inside.steps, inside.guidance_passes) == (4, 2)
    assert read(extra_params={"steps": 9}, num_inference_steps=9).steps == 9
    assert refused(diffusers_kwargs={"steps": 9}, num_inference_steps=8).param == "steps"
    assert refused(kwargs='{"steps": 0}').param == "steps"


def test_a_class_and_a_shape_are_a_size_and_exclude_another() -> None:
    assert read(resolution="2k", aspect_ratio="1:1").size == "2048x2048"
    assert read(aspect_ratio="16:9").size is None
    assert refused(resolution="2k", size="64x64").param == "size"
    assert refused(resolution="2k", width=64, height=64).param == "size"


def test_no_name_is_both_known_and_refused() -> None:
    assert not KNOWN_IN_GENERATIONS & UNPRICED_IN_GENERATIONS
    assert not KNOWN_IN_GENERATIONS & ROUTE_TAKING
