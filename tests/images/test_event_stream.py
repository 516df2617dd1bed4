"""Events are counted and read however the bytes are cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.images.event_stream import StreamScan
from tests.images.test_answer import picture

USAGE = {
    "input_tokens": 5,
    "output_tokens": 1056,
    "total_tokens": 1061,
    "input_tokens_details": {"text_tokens": 5},
}


def event(kind: str, *, end: str = "\n", name: bool = True, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields})
    return (f"event: {kind}{end}" if name else "").encode() + f"data: {data}{end}{end}".encode()


def stream(end: str = "\n") -> bytes:
    small, large = picture(64, 64), picture(640, 480)
    return b"".join(
        (
            f": a comment{end}".encode(),
            event("image_generation.partial_image", end=end, b64_json=small, partial_image_index=0),
            event("image_generation.partial_image", end=end, b64_json=small, partial_image_index=1),
            event("image_generation.completed", end=end, b64_json=large, quality="high", usage=USAGE),
            event("image_generation.completed", end=end, name=False, b64_json=large, usage=USAGE),
        )
    )


@given(st.lists(st.integers(0, 1 << 16), max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_facts_do_not_depend_on_where_chunks_are_cut(cuts: list[int], end: str) -> None:
    text = stream(end)
    scan, edges = StreamScan(), [0, *sorted(cut % len(text) for cut in cuts), len(text)]
    completed = [
        start + offset for start, stop in itertools.pairwise(edges) for offset in scan.feed(text[start:stop])
    ]

    delivered = scan.events.delivered()

    assert (delivered.images, delivered.partial_images) == (2, 2)
    assert (delivered.width, delivered.height, delivered.quality) == (640, 480, "high")
    assert delivered.output_tokens == 2112
    assert delivered.usage == {
        "input_tokens": 10,
        "output_tokens": 2112,
        "total_tokens": 2122,
        "input_tokens_details": {"text_tokens": 10},
    }
    assert [text[:position].endswith(b"}") for position in completed] == [True, True]
    assert scan.between_events
    assert not scan.events.failed


def test_a_line_of_megabytes_is_not_kept() -> None:
    scan = StreamScan()
    scan.feed(b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"')
    for _ in range(128):
        scan.feed(b"A" * 65536)
    scan.feed(b'","size":"1024x1024"}\n\n')

    delivered = scan.events.delivered()

    assert (delivered.images, delivered.width, delivered.usage) == (1, 1024, None)


def test_usage_of_some_pictures_only_is_no_usage() -> None:
    scan = StreamScan()
    scan.feed(event("image_edit.completed", b64_json=picture(8, 8), usage=USAGE))
    scan.feed(event("image_edit.completed", b64_json=picture(8, 8)))

    assert scan.events.delivered().output_tokens is None


@pytest.mark.parametrize("error", [{"message": "no"}, "no"])
def test_an_error_event_is_a_failure(error: Any) -> None:
    scan = StreamScan()
    scan.feed(event("error", error=error))

    assert scan.events.failed
    assert scan.events.delivered().images == 0


@pytest.mark.parametrize(
    "text", [b"", b"data: nonsense\n\n", b"data: {}\n\ndata: [1]\n\n", b"\xff\xfe\n\n", b": x\n\n"]
)
def test_what_is_no_picture_counts_for_nothing(text: bytes) -> None:
    scan = StreamScan()
    scan.feed(text)

    assert (scan.events.delivered().images, scan.events.failed, scan.between_events) == (0, False, True)


def test_the_middle_of_an_event_is_not_between_events() -> None:
    scan = StreamScan()
    for piece, between in (
        (b"event: x", False),
        (b"\n", False),
        (b"data: {", False),
        (b"}\n", False),
        (b"\n", True),
    ):
        scan.feed(piece)
        assert scan.between_events is between
