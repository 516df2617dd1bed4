"""A document without its long strings means the same, however it is cut into pieces."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.images.skeleton import HEAD_BYTES, MARK, SHORT_BYTES, Skeleton, SkeletonTooLarge, marked

TEXT = st.text(alphabet=st.sampled_from('ab"\\/é\n\t😀{}[]:,'), max_size=40)
LONG = st.builds(lambda text, times: (text or "x") * times, TEXT, st.integers(300, 600))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | LONG,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def scanned(document: bytes, cuts: list[int]) -> tuple[bytes, list[object]]:
    skeleton = Skeleton(on_long=lambda head: head)
    edges = [0, *sorted(cut % (len(document) + 1) for cut in cuts), len(document)]
    for start, end in itertools.pairwise(edges):
        skeleton.feed(document[start:end])
    return skeleton.json(), skeleton.long


def restored(value: Any, long: list[object]) -> Any:
    if isinstance(value, str):
        head = marked(value, long)
        return json.loads(b'"' + head + b'"') if isinstance(head, bytes) else value
    if isinstance(value, list):
        return [restored(item, long) for item in value]
    if isinstance(value, dict):
        return {restored(name, long): restored(item, long) for name, item in value.items()}
    return value


@given(JSON, st.lists(st.integers(0, 1 << 20), max_size=6), st.booleans())
def test_the_document_can_be_put_together_again(document: Any, cuts: list[int], ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only).encode()

    skeleton, long = scanned(text, cuts)

    assert restored(json.loads(skeleton), long) == document


def test_every_byte_may_come_alone() -> None:
    text = json.dumps({"a": 'x"\\' * 200, "b": [1, "\\"]}).encode()

    skeleton, long = scanned(text, list(range(len(text))))

    assert json.loads(skeleton) == {"a": f"{MARK}0", "b": [1, "\\"]}
    assert restored(f"{MARK}0", long) == 'x"\\' * 200


def test_a_long_string_leaves_its_head_and_no_more() -> None:
    skeleton, long = scanned(b'["' + b"A" * (HEAD_BYTES * 3) + b'"]', [100, 70_000, 150_000])

    assert len(skeleton) < 20
    assert [len(head) for head in long if isinstance(head, bytes)] == [HEAD_BYTES]


@pytest.mark.parametrize("length", [SHORT_BYTES, SHORT_BYTES + 1])
def test_a_short_string_stays_as_it_is(length: int) -> None:
    skeleton, long = scanned(b'"' + b"A" * length + b'"', [])

    assert (json.loads(skeleton) == "A" * length) is (length == SHORT_BYTES)
    assert len(long) == length - SHORT_BYTES


def test_a_document_of_many_members_is_refused_instead_of_kept() -> None:
    with pytest.raises(SkeletonTooLarge):
        scanned(b'{"a":1},' * 100_000, [1000, 2000])


def test_a_document_that_ends_within_a_string_is_none() -> None:
    assert scanned(b'{"a":"b', [])[0] == b""
