"""Facts in responses, whole and streamed, however the bytes are cut."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversations.scans import answer_scan, stream_scan
from gateway.images.answer import Delivered, ErrorAnswer, Picture, UnreadableAnswer
from tests.images.test_answer import picture
from tests.images.test_event_stream import event

SMALL, LARGE = picture(64, 64), picture(640, 480)
TEXT_USAGE = {"input_tokens": 30, "output_tokens": 7, "total_tokens": 37}
IMAGE_USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"image_tokens": 10, "text_tokens": 40},
    "output_tokens": 272,
    "total_tokens": 322,
}
MESSAGE = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "x" * 300}]}


def call(id_: str, result: str | None, **fields: Any) -> dict[str, Any]:
    return {"type": "image_generation_call", "id": id_, "status": "completed", "result": result, **fields}


OUTPUT = [call("ig_1", SMALL, quality="low"), MESSAGE, call("ig_2", LARGE, quality="high", size="1x1")]


def response(**fields: Any) -> dict[str, Any]:
    whole = {"object": "response", "error": None, "output": OUTPUT, "usage": TEXT_USAGE}
    return {**whole, "tool_usage": {"image_gen": IMAGE_USAGE, "web_search": {"num_requests": 0}}, **fields}


def read(answer: object) -> Delivered:
    scan = answer_scan("responses", "application/json")
    scan.feed(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
    return scan.delivered()


def test_image_tokens_are_the_tools_and_never_the_text_models() -> None:
    delivered = read(response())

    assert (delivered.images, delivered.width, delivered.height) == (2, 640, 480)
    assert (delivered.output_tokens, delivered.text_tokens, delivered.input_tokens) == (272, 7, 30)
    assert delivered.usage == {"text_model": TEXT_USAGE, "image_gen": IMAGE_USAGE}
    assert delivered.says_what_it_took


@pytest.mark.parametrize(
    "tool_usage", [None, {}, {"image_gen": None}, {"image_gen": {"output_tokens": 0}}, "x", {"image_gen": 5}]
)
def test_without_image_tokens_pictures_are_counted_each_as_it_came(tool_usage: object) -> None:
    delivered = read(response(tool_usage=tool_usage))

    assert (delivered.images, delivered.output_tokens, delivered.says_what_it_took) == (2, None, False)
    assert delivered.pictures == (Picture(64, 64, "low"), Picture(640, 480, "high"))
    assert delivered.text_tokens == 7


def test_details_of_output_tokens_change_nothing() -> None:
    detailed = {**IMAGE_USAGE, "output_tokens_details": {"image_tokens": 200, "text_tokens": 72}}

    assert read(response(tool_usage={"image_gen": detailed})).output_tokens == 272


def test_a_call_without_a_picture_is_none() -> None:
    output = [call("a", None), call("b", ""), {**call("c", SMALL), "type": "message"}, 5, None]

    assert read(response(output=output, tool_usage=None)).images == 0


def test_the_model_that_drew_is_read_from_the_tools() -> None:
    tools = [{"type": "function"}, {"type": "image_generation", "model": "gpt-image-2"}]

    assert read(response(tools=tools)).image_model == "gpt-image-2"
    assert read(response()).image_model is None


def test_an_echo_of_many_tools_is_still_an_answer() -> None:
    tools = [{"type": "function", "name": f"f{number}", "parameters": {"a": "b"}} for number in range(9_000)]

    assert read(response(tools=tools)).images == 2


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"output": 5}', b'{"data": []}', b"\xff"])
def test_what_is_no_response_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer) as error:
        read(body)

    assert not isinstance(error.value, ErrorAnswer)


def test_a_failed_response_is_an_error_unless_something_was_drawn() -> None:
    failed = {"error": {"code": "server_error"}, "status": "failed"}
    with pytest.raises(ErrorAnswer) as error:
        read(response(**failed, output=[], tool_usage=None))

    assert error.value.error == {"code": "server_error"}
    assert read(response(**failed)).images == 2


def stream(end: str = "\n") -> bytes:
    return b"".join(
        (
            event("response.created", end=end, response=response(output=[], usage=None, tool_usage=None)),
            event("response.image_generation_call.partial_image", end=end, partial_image_b64=SMALL),
            event("response.output_item.done", end=end, output_index=0, item=OUTPUT[0]),
            event("response.output_text.delta", end=end, delta="words"),
            event("response.output_item.done", end=end, name=False, output_index=2, item=OUTPUT[2]),
            event("response.completed", end=end, response=response()),
        )
    )


@given(st.lists(st.integers(0, 1 << 16), max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_streamed_facts_do_not_depend_on_where_chunks_are_cut(cuts: list[int], end: str) -> None:
    text = stream(end)
    scan, edges = stream_scan("responses"), [0, *sorted(cut % len(text) for cut in cuts), len(text)]
    marks = [
        start + offset for start, stop in itertools.pairwise(edges) for offset in scan.feed(text[start:stop])
    ]

    delivered = scan.events.delivered()

    assert (delivered.images, delivered.partial_images, delivered.output_tokens) == (2, 1, 272)
    assert scan.events.ended(1)
    assert not scan.events.failed
    assert [text[:mark].endswith(b"}") for mark in marks] == [True]


def test_a_picture_counts_before_the_answer_is_complete_which_it_does_not_complete() -> None:
    scan = stream_scan("responses")
    scan.feed(event("response.output_item.done", output_index=0, item=OUTPUT[0]))

    assert scan.events.delivered().images == 1
    assert not scan.events.ended(1)
    assert not scan.events.whole()


@pytest.mark.parametrize(
    "failure", [event("error", error={"message": "no"}), event("response.failed", response={"error": {}})]
)
def test_a_failure_among_the_events_is_told(failure: bytes) -> None:
    scan = stream_scan("responses")
    scan.feed(failure)

    assert scan.events.failed
    assert not scan.events.whole()


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    with contextlib.suppress(UnreadableAnswer):
        assert read(body).images >= 0
    scan = stream_scan("responses")
    scan.feed(b"data: " + body + b"\n\n")
    assert scan.events.delivered().images == 0
