"""Bodies of chat completions: each is understood in full or refused."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversations.chat import read_chat
from gateway.errors import InvalidRequest
from gateway.images.lighter import changes
from tests.conversations.test_responses import JSON

if TYPE_CHECKING:
    from gateway.images.request import ImageRequest

BODY: dict[str, Any] = {
    "model": "painter",
    "messages": [{"role": "user", "content": "a cat"}],
    "modalities": ["image", "text"],
}


def read(**fields: Any) -> ImageRequest:
    return read_chat(json.dumps({**BODY, **fields}).encode())


def test_modalities_say_whether_images_may_come() -> None:
    request = read(n=2, max_tokens=50, stream=True)

    assert (request.route, request.draws, request.stream) == ("chat", True, True)
    assert (request.n, request.calls, request.most_images(4)) == (2, None, 8)
    assert request.text is not None
    assert (request.text.most_tokens, request.text.choices) == (50, 2)
    assert read(modalities=["image"]).draws
    for modalities in (None, ["text"]):
        silent = read(modalities=modalities)
        assert (silent.draws, silent.most_images(4)) == (False, 0)


def test_the_largest_bound_of_text_counts() -> None:
    text = read(max_tokens=10, max_completion_tokens=30).text

    assert text is not None
    assert text.most_tokens == 30


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (None, (None, None)),
        ({}, (None, None)),
        ({"aspect_ratio": "16:9"}, (None, None)),
        ({"image_size": "1K"}, (1024, 1024)),
        ({"image_size": "2K", "aspect_ratio": "1:1"}, (2048, 2048)),
        ({"image_size": "4K", "aspect_ratio": "4:1"}, (8192, 2048)),
    ],
)
def test_a_class_of_sizes_is_so_many_pixels(config: Any, size: tuple[int | None, int | None]) -> None:
    request = read(image_config=config)

    assert (request.width, request.height) == size


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"modalities": []}, "modalities"),
        ({"modalities": "image"}, "modalities"),
        ({"modalities": ["image", "audio"]}, "modalities"),
        ({"modalities": [["image"]]}, "modalities"),
        ({"Modalities": ["image"]}, "modalities"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"model": 5}, "model"),
        ({"image_config": []}, "image_config"),
        ({"image_config": {"image_size": "9K"}}, "image_config.image_size"),
        ({"image_config": {"aspect_ratio": "wide"}}, "image_config.aspect_ratio"),
        ({"image_config": {"strength": 1}}, "image_config"),
        ({"tools": [{"type": "openrouter:web_search"}]}, "tools[0].type"),
        ({"models": ["a", "b"]}, "models"),
        ({"provider": {"order": ["x"]}}, "provider"),
        ({"plugins": [{"id": "web"}]}, "plugins"),
        ({"preset": "p"}, "preset"),
        ({"audio": {"voice": "v"}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"samples": 4}, "samples"),
        ({"base_url": "x"}, "base_url"),
    ],
)
def test_what_cannot_be_metered_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read(**fields)

    assert (error.value.status, error.value.param) == (400, param)


def test_a_path_names_the_model() -> None:
    body = {name: value for name, value in BODY.items() if name != "model"}

    assert read_chat(json.dumps(body).encode(), model="painter").model == "painter"


def test_pictures_to_start_from_are_counted() -> None:
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}

    assert read(messages=[{"role": "user", "content": [shown, shown]}]).input_images == 2


def test_only_what_a_chat_can_say_is_made_lighter() -> None:
    assert changes(read(), {"n": 1})
    assert not changes(read(), {"quality": "low"})


NAMES = st.sampled_from([*BODY, "n", "image_config", "stream", "tools", "max_tokens", "x"])


@given(st.dictionaries(NAMES, JSON))
def test_any_body_is_understood_or_refused(fields: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        request = read(**fields)
        assert request.draws is (request.most_images(4) > 0)
