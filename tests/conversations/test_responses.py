"""Bodies of the Responses API: each is understood in full or refused."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversations.any_body import read_any
from gateway.conversations.asking import MAX_MEMBERS
from gateway.conversations.responses import read_response
from gateway.errors import InvalidRequest
from gateway.images.edits import MAX_INPUT_IMAGES
from gateway.images.lighter import changed, changes

if TYPE_CHECKING:
    from gateway.images.request import ImageRequest

TOOL: dict[str, Any] = {"type": "image_generation", "size": "1536x1024", "quality": "high"}
BODY: dict[str, Any] = {"model": "gpt-4o", "input": "a cat", "tools": [TOOL]}
FUNCTION: dict[str, Any] = {
    "type": "function", "name": "f", "parameters": {"properties": {"api_key": {}, "organization": {}}},
}  # fmt: skip
PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}


def read(**fields: Any) -> ImageRequest:
    return read_response(json.dumps({**BODY, **fields}).encode())


def refused(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        read(**fields)
    assert error.value.status == 400
    return error.value


def test_the_tool_says_what_is_drawn() -> None:
    tool = {
        **TOOL,
        "model": "gpt-image-2",
        "partial_images": 2,
        "n": 3,
        "action": "auto",
        "complexity": "low",
    }
    request = read(tools=[FUNCTION, tool], max_tool_calls=2, max_output_tokens=500, stream=True)

    assert (request.model, request.image_model, request.route) == ("gpt-4o", "gpt-image-2", "responses")
    assert (request.width, request.height, request.quality) == (1536, 1024, "high")
    assert (request.n, request.calls, request.most_images(9)) == (3, 2, 6)
    assert (request.partial_images, request.stream, request.tool) == (2, True, 1)
    assert request.text is not None
    assert request.text.most_tokens == 500
    assert request.unknown_fields() == []


def test_what_a_body_does_not_bound_is_left_to_the_deployment() -> None:
    request = read()

    assert (request.calls, request.most_images(4), request.image_model) == (None, 4, None)
    assert read(tools=[{**TOOL, "frame_count": 4, "output_format": "gif"}]).frames == 4
    assert read(tools=[{"type": "image_generation", "size": "auto", "quality": "auto"}]).size is None


@pytest.mark.parametrize(
    ("fields", "draws"),
    [
        ({}, True),
        ({"tool_choice": "auto"}, True),
        ({"tool_choice": "required"}, True),
        ({"tool_choice": {"type": "image_generation"}}, True),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": TOOL["type"]}]}}, True),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function"}]}}, False),
        ({"tool_choice": {"type": "function", "name": "f"}}, False),
        ({"tool_choice": "none"}, False),
        ({"tools": []}, False),
        ({"tools": None}, False),
        ({"tools": [FUNCTION]}, False),
    ],
)
def test_a_body_draws_when_the_image_tool_may_be_used(fields: dict[str, Any], draws: bool) -> None:
    request = read(**fields)

    assert request.draws is draws
    assert request.most_images(4) == (4 if draws else 0)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"context_management": [{}]}, "context_management"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"Background": True}, "background"),
        ({"api_key": "k"}, "api_key"),
        ({"extra_body": {}}, "extra_body"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"model": None}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"max_tool_calls": "2"}, "max_tool_calls"),
        ({"max_output_tokens": 10**9}, "max_output_tokens"),
        ({"tools": "image_generation"}, "tools"),
        ({"tools": ["image_generation"]}, "tools[0]"),
        ({"tools": [{"Type": "image_generation"}]}, "tools[0]"),
        ({"tools": [{**FUNCTION, "TYPE": "image_generation"}]}, "type"),
        ({"tools": [TOOL, TOOL]}, "tools[1]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL, {"type": "mcp", "server_url": "http://x"}]}, "tools[1].type"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0].type"),
        ({"tools": [{**TOOL, "n": 11}]}, "tools[0].n"),
        ({"tools": [{**TOOL, "n": 0}]}, "tools[0].n"),
        ({"tools": [{**TOOL, "size": "huge"}]}, "tools[0].size"),
        ({"tools": [{**TOOL, "partial_images": 4}]}, "tools[0].partial_images"),
        ({"tools": [{**TOOL, "svg": {"model": "m"}}]}, "tools[0].svg"),
        ({"tools": [{**TOOL, "output_format": "svg"}]}, "tools[0].output_format"),
        ({"tools": [{**TOOL, "a_field_of_tomorrow": 1}]}, "tools[0].a_field_of_tomorrow"),
        ({"tools": [{**TOOL, "Size": "64x64"}]}, "tools[0].Size"),
        ({"tools": [{**TOOL, "action": "paint"}]}, "tools[0].action"),
        ({"tools": [{**TOOL, "action": ["edit"]}]}, "tools[0].action"),
        ({"tools": [{**TOOL, "model": 5}]}, "tools[0].model"),
        (
            {"tools": [{**TOOL, "input_image_mask": {"base_url": "x"}, "batch_size": 4}]},
            "tools[0].batch_size",
        ),
        ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice"),
        ({"tool_choice": {"type": ["image_generation"]}}, "tool_choice"),
        ({"tool_choice": "always"}, "tool_choice"),
    ],
)
def test_what_cannot_be_metered_is_refused(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


def test_what_the_client_says_is_not_read_as_an_order() -> None:
    """A function may have a parameter called like a setting of other gateways."""
    assert read(tools=[TOOL, FUNCTION], metadata={"base_url": "x"}).draws
    assert read(input=[{"role": "user", "content": [{"type": "input_text", "text": "api_base"}]}]).draws


def test_a_long_conversation_is_no_attack() -> None:
    turns = [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}] * 2_000

    assert read(input=turns).draws
    assert "members" in refused(input=[{str(number): 1 for number in range(MAX_MEMBERS)}]).message


def test_pictures_to_start_from_are_counted_as_far_as_an_edit_can_take_them() -> None:
    asked = [{"role": "user", "content": [PICTURE, PICTURE]}]

    assert read(input=asked).input_images == 2
    assert read(input=[{"role": "user", "content": [PICTURE] * 40}]).input_images == MAX_INPUT_IMAGES
    assert read(input=asked, tools=[{**TOOL, "action": "generate"}]).input_images == 0
    assert read(previous_response_id="resp_1").input_images == 1


@pytest.mark.parametrize(
    ("fields", "bound_to"),
    [
        ({}, None),
        ({"previous_response_id": "r", "input": None}, "previous_response_id"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"input": [{"type": "item_reference", "id": "i"}]}, "input"),
        ({"input": [{"type": "image_generation_call", "id": "i"}]}, "input"),
        ({"input": [{"type": "image_generation_call", "id": "i", "result": "AA=="}]}, None),
    ],
)
def test_what_one_provider_keeps_is_told(fields: dict[str, Any], bound_to: str | None) -> None:
    text = read(**fields).text

    assert text is not None
    assert text.bound_to == bound_to


def test_a_lighter_form_changes_the_tool_and_nothing_else() -> None:
    request = read(tools=[FUNCTION, {**TOOL, "n": 4}], temperature=1)

    lighter = changed(
        request, {"quality": "low", "size": "1024x1024", "n": 2, "model": "other", "max_tool_calls": 3}
    )

    assert (lighter.quality, lighter.size, lighter.n, lighter.model) == ("low", "1024x1024", 2, "other")
    assert lighter.calls == 3
    tool = {**TOOL, "n": 2, "quality": "low", "size": "1024x1024"}
    outside = {"tools": [FUNCTION, tool], "model": "other", "max_tool_calls": 3}
    assert lighter.fields == request.fields | outside
    assert request.fields["tools"][1]["quality"] == "high"
    assert changes(request, {"quality": "low"})
    assert not changes(read(tools=[]), {"quality": "low"})


def test_a_body_is_told_by_its_members() -> None:
    assert read_any(json.dumps(BODY).encode()).route == "responses"
    chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert read_any(json.dumps(chat).encode()).route == "chat"
    assert read_any(b'{"model": "m", "prompt": "a cat"}').route == "images.generate"
    edit = {"model": "m", "prompt": "a hat", "images": [{"file_id": "a"}, {"file_id": "b"}]}
    assert read_any(json.dumps(edit).encode()).route == "images.edit"
    assert read_any(json.dumps(edit).encode()).input_images == 2
    assert (
        read_any(b'{"model": "m", "prompt": "a hat", "image": "https://a.example/b.png"}').input_images == 1
    )


WORDS = st.text("aKn_ é\ufb01", max_size=4) | st.sampled_from(["type", "image_generation", "auto", "image"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 20) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["model", "input", "tools", "tool_choice", "max_tool_calls", "stream", "background", "conversation", "x"]
)


@given(st.dictionaries(NAMES, JSON), st.dictionaries(st.sampled_from([*TOOL, "n", "action", "model"]), JSON))
def test_any_body_is_understood_or_refused(fields: dict[str, Any], tool: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        request = read(**fields)
        assert request.most_images(4) >= 0
    with contextlib.suppress(InvalidRequest):
        request = read(tools=[{"type": "image_generation", **tool}])
        assert 1 <= request.n <= 10
        assert json.loads(json.dumps(request.fields)) == request.fields


@given(st.binary(max_size=200))
def test_any_bytes_are_a_body_or_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_response(body)
