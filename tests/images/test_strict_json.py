"""One body, one meaning."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.images.strict_json import read_object

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abcdefgh", min_size=1), JSON_VALUES, max_size=8))
def test_what_json_writes_is_read_with_the_same_names_values_and_order(document: dict[str, object]) -> None:
    read = read_object(json.dumps(document).encode())

    assert list(document.items()) == list(read.items())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else_happens(body: bytes) -> None:
    try:
        read = read_object(body)
    except InvalidRequest as refused:
        assert refused.status == 400
    else:
        assert read == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"null",
        b"[1]",
        b'"text"',
        b'{"a":1',
        b'{"a":1}{"a":2}',
        b'{"a":1} x',
        b'{"a":1,"a":2}',
        b'{"x":{"a":1,"a":1}}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":01}',
        b'{"a":12345678901234567890}',
        b'{"a":"\xff"}',
        b'{"\xff":1}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":"\\u0000"}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1 /* one */}',
        b"[" * 100_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b'{"a":' + b"[" * 100_000,
        b"{" + b",".join(b'"k%d":1' % number for number in range(1001)) + b"}",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_body_on_which_readers_could_disagree_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_object(body)

    assert refused.value.status == 400
    assert refused.value.code == "invalid_json"


def test_32_levels_are_read_and_33_are_not() -> None:
    assert read_object(b'{"a":' * 32 + b"1" + b"}" * 32)
    with pytest.raises(InvalidRequest, match="deeper than 32"):
        read_object(b'{"a":' * 33 + b"1" + b"}" * 33)


def test_a_name_that_appears_twice_is_named() -> None:
    with pytest.raises(InvalidRequest, match="'n' appears twice") as refused:
        read_object(b'{"n":1,"n":10}')

    assert refused.value.param == "n"


def test_a_strange_name_is_not_repeated_in_the_answer() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_object(b'{"a\\r\\nb":1,"a\\r\\nb":2}')

    assert "\r" not in refused.value.message
    assert refused.value.param is None
