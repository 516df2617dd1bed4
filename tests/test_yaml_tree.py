"""The strict reading of YAML."""

from __future__ import annotations

import json
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Problem
from gateway.yaml_tree import MAX_BYTES, MAX_DEPTH, MAX_NODES, read_tree, shown


def read(text: str | bytes) -> object:
    tree, problems = read_tree("f", text.encode() if isinstance(text, str) else text)
    assert problems == []
    assert tree is not None
    return tree.plain()


def refused(text: str | bytes) -> list[str]:
    _, problems = read_tree("f", text.encode() if isinstance(text, str) else text)
    assert problems
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "text",
    [
        "NO",
        "yes",
        "off",
        "12:30",
        "010",
        "0x10",
        "1_000",
        "~",
        ".5",
        "+1",
        "1.",
        "Null",
        "2026-11-23",
        "=",
        ".inf",
    ],
)
def test_what_is_not_a_json_scalar_is_text(text: str) -> None:
    assert {"a": text} == read(f"a: {text}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("", None),
    ],
)
def test_json_scalars_have_their_json_value(text: str, value: object) -> None:
    read_value = read(f"a: {text}")

    assert {"a": value} == read_value
    assert isinstance(read_value, dict)
    assert type(value) is type(read_value["a"])


def test_quoted_and_folded_scalars_are_text() -> None:
    assert read("a: '1'\nb: \"true\"\nc: |\n  1\nd: >\n  null\n") == {
        "a": "1",
        "b": "true",
        "c": "1\n",
        "d": "null\n",
    }


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abc<", min_size=1, max_size=2), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values)
def test_json_is_read_as_json(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    if '"<<"' in text:
        return

    assert value == read(text)


@given(st.binary(max_size=200) | st.text(alphabet="a1:-{}[],\"'&*!|>%@`#? \n\t", max_size=60).map(str.encode))
def test_any_bytes_are_a_tree_or_a_problem(raw: bytes) -> None:
    tree, problems = read_tree("f", raw)

    assert tree is not None or problems
    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems)


def test_places_count_characters_from_one() -> None:
    tree, _ = read_tree("f", "é: [1, {ü: x}]\n".encode())

    assert tree is not None
    assert isinstance(tree.content, dict)
    entry = tree.content["é"]
    assert isinstance(entry.value.content, list)
    inner = entry.value.content[1]
    assert (
        entry.line,
        entry.column,
        entry.value.line,
        entry.value.column,
        inner.line,
        inner.column,
    ) == (1, 1, 1, 4, 1, 8)


def test_a_byte_order_mark_and_windows_line_ends_are_accepted() -> None:
    assert read(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}


def test_every_mistake_of_form_is_reported_at_once() -> None:
    text = "a: &x 1\na: 2\nb: *x\n<<: {c: 1}\n? [d]\n: !t e\n"

    assert refused(text) == [
        "f:1:4: anchors are not allowed (&x): write the value out where it is used",
        "f:2:1: 'a' is already set on line 1",
        "f:3:4: aliases are not allowed (*x): write the value out",
        "f:4:1: merge keys are not allowed (<<)",
        "f:6:3: tags are not allowed (!t): text stands in quotes",
        "f:5:3: a key must be text",
    ]


def test_text_that_is_not_utf_8_is_refused_at_its_place() -> None:
    assert refused(b"a: 1\nb: \xff\n") == ["f:2:4: the file is not UTF-8"]


def test_a_quoted_merge_key_or_number_key_is_refused_or_text() -> None:
    assert read("1: 2") == {"1": 2}
    assert refused("'<<': {a: 1}") == ["f:1:1: merge keys are not allowed (<<)"]


def test_a_file_at_the_limits_is_read_and_one_beyond_is_not() -> None:
    assert read("[" + "null," * (MAX_NODES - 1) + "]") == [None] * (MAX_NODES - 1)
    assert refused("[" + "null," * MAX_NODES + "]")[0].endswith(
        f"the file holds more than {MAX_NODES} values"
    )

    read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    deep = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    assert [f"f:1:{MAX_DEPTH + 1}: values are nested more than {MAX_DEPTH} deep"] == refused(deep)

    assert read("a #" + "x" * (MAX_BYTES - 3)) == "a"
    assert [f"f:1:1: the file is larger than {MAX_BYTES} bytes"] == refused("a #" + "x" * (MAX_BYTES - 2))


@pytest.mark.parametrize(
    "bomb",
    [
        "a: &a [l,l,l,l,l,l,l,l,l]\n"
        + "".join(
            f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "[" * 900_000,
        "{a: " * 200_000,
        "- " * 400_000,
        "? " * 400_000,
        "x: " + "9" * 900_000,
        "'" + "a" * 900_000,
        "&a " * 300_000,
    ],
    ids=["laughs", "brackets", "braces", "dashes", "questions", "digits", "quote", "anchors"],
)
def test_a_hostile_file_is_refused_quickly_and_in_little_memory(bomb: str) -> None:
    raw = bomb.encode()
    started = time.perf_counter()

    _, problems = read_tree("f", raw)

    assert time.perf_counter() - started < 0.1
    assert problems
    tracemalloc.start()
    read_tree("f", raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000


def test_quoted_values_in_messages_are_short_and_on_one_line() -> None:
    assert shown("a\nb") == "'a\\nb'"
    assert len(shown("x" * 1000)) < 70
    assert [shown(v) for v in (None, True, [1], {"a": 1}, 1.5)] == [
        "nothing",
        "true",
        "a list",
        "a mapping",
        "1.5",
    ]


def test_problems_print_as_file_line_column_message() -> None:
    assert str(Problem("f.yaml", 2, 3, "no")) == "f.yaml:2:3: no"
