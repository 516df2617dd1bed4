"""Facts in chat completions, whole and in chunks; every picture counts once."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversations.scans import answer_scan, stream_scan
from gateway.images.answer import Delivered, ErrorAnswer, UnreadableAnswer
from tests.images.test_answer import picture

USAGE = {"prompt_tokens": 9, "completion_tokens": 1300, "total_tokens": 1309, "cost": 0.04}
DETAILS = {"completion_tokens_details": {"image_tokens": 1290, "reasoning_tokens": 0}}


def image(width: int, height: int) -> dict[str, Any]:
    url = f"data:image/png;base64,{picture(width, height)}"
    return {"type": "image_url", "image_url": {"url": url}, "index": 0}


SMALL, LARGE = image(64, 64), image(640, 480)


def message(*images: object, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "hi", "images": list(images)}}
    return {"choices": [choice], "usage": {**USAGE, **DETAILS}, **fields}


def read(answer: object) -> Delivered:
    scan = answer_scan("chat", "application/json")
    scan.feed(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
    return scan.delivered()


def test_pictures_and_tokens_are_read() -> None:
    delivered = read(message(SMALL, LARGE))

    assert (delivered.images, delivered.width, delivered.height) == (2, 640, 480)
    assert (delivered.output_tokens, delivered.text_tokens, delivered.input_tokens) == (1290, 10, 9)
    assert delivered.usage == {**USAGE, **DETAILS}
    assert delivered.says_what_it_took


@pytest.mark.parametrize("details", [None, {}, {"image_tokens": 0}, {"image_tokens": None}])
def test_no_image_tokens_is_no_measurement(details: object) -> None:
    delivered = read(message(SMALL, usage={**USAGE, "completion_tokens_details": details}))

    assert (delivered.output_tokens, delivered.says_what_it_took) == (None, False)
    assert delivered.text_tokens == 1300


def test_text_alone_has_no_pictures_and_says_what_it_took() -> None:
    delivered = read(message(usage=USAGE))

    assert (delivered.images, delivered.text_tokens, delivered.says_what_it_took) == (0, 1300, True)


def test_odd_pictures_are_none_and_urls_are_some() -> None:
    odd: list[Any] = [
        None,
        5,
        {},
        {"image_url": {}},
        {"image_url": {"url": ""}},
        {"image_url": {"url": "http://x/1"}},
    ]

    assert read(message(*odd)).images == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices": 5}', b"\xff"])
def test_what_is_no_completion_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer) as error:
        read(body)

    assert not isinstance(error.value, ErrorAnswer)


def test_an_error_in_place_of_choices_is_one() -> None:
    with pytest.raises(ErrorAnswer):
        read({"error": {"code": 502, "message": "no"}})

    assert read(message(SMALL, error={"code": 502})).images == 1


def chunk(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"object": "chat.completion.chunk", **fields}).encode() + b"\n\n"


def delta(choice: int = 0, finish: str | None = None, **fields: Any) -> bytes:
    return chunk(choices=[{"index": choice, "delta": fields, "finish_reason": finish}])


STREAM = b"".join(
    (
        b": a comment\n\n",
        delta(content="hi"),
        delta(images=[SMALL]),
        delta(images=[SMALL, LARGE]),
        delta(1, images=[SMALL]),
        delta(finish="stop"),
        delta(1, finish="stop"),
        chunk(choices=[], usage={**USAGE, **DETAILS}),
        b"data: [DONE]\n\n",
    )
)


@given(st.lists(st.integers(0, 1 << 16), max_size=8))
def test_a_picture_that_is_sent_again_counts_once_wherever_chunks_are_cut(cuts: list[int]) -> None:
    scan, edges = stream_scan("chat"), [0, *sorted(cut % len(STREAM) for cut in cuts), len(STREAM)]
    marks = [
        start + offset
        for start, stop in itertools.pairwise(edges)
        for offset in scan.feed(STREAM[start:stop])
    ]

    delivered = scan.events.delivered()

    assert (delivered.images, delivered.output_tokens, delivered.text_tokens) == (3, 1290, 10)
    assert [STREAM[:mark].endswith(b"}") for mark in marks] == [True] * 3
    assert scan.events.whole()
    assert not scan.events.failed
    assert scan.between_events


def test_a_stream_is_whole_when_every_choice_is_closed() -> None:
    scan = stream_scan("chat")
    for piece, whole in (
        (delta(content="x"), False),
        (delta(1, content="x"), False),
        (delta(finish="stop"), False),
        (delta(1, finish="length"), True),
    ):
        scan.feed(piece)
        assert scan.events.whole() is whole
        assert scan.events.ended(2) is whole
    assert not scan.events.ended(3)


@pytest.mark.parametrize(
    "failure",
    [
        chunk(error={"code": 502}, choices=[]),
        delta(finish="error"),
        chunk(choices=[{"index": 0, "error": {"code": 502}}]),
        b'event: error\ndata: {"message": "no"}\n\n',
    ],
)
def test_a_failure_among_the_chunks_is_told(failure: bytes) -> None:
    scan = stream_scan("chat")
    scan.feed(failure)

    assert scan.events.failed


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    with contextlib.suppress(UnreadableAnswer):
        assert read(body).images >= 0
    scan = stream_scan("chat")
    scan.feed(b"data: " + body + b"\n\n")
    assert scan.events.delivered().images == 0
