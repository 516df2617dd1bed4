from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.identity.names import MAX_LABELS, NAME, checked_labels, checked_name


@pytest.mark.parametrize("name", ["a", "Design-2", "ana@example.org", "x" * 64, "1.2_3+4"])
def test_plain_names_pass_unchanged(name: str) -> None:
    assert checked_name(name, param="team") == name


@pytest.mark.parametrize(
    "name", ["", "x" * 65, "a b", "a\n", "a\r\nb", "a:b", "{a}", "a|b", "a\x00", "é", "a/b", "%7B", "'; DROP"]
)
def test_other_names_are_refused_with_the_parameter_and_without_their_value(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_name(name, param="team")

    assert (caught.value.status, caught.value.param) == (400, "team")
    assert len(name) < 5 or name not in caught.value.message


@given(st.text(max_size=80))
def test_nothing_passes_that_could_leave_its_place_in_a_redis_key(name: str) -> None:
    if NAME.fullmatch(name):
        assert not set(name) & set("{}:|* \r\n\x00")


def test_labels_are_checked_on_both_sides_and_counted() -> None:
    assert checked_labels({"project": "spring"}) == {"project": "spring"}
    for labels in (
        {"a b": "x"},
        {"A": "x"},
        {"": "x"},
        {"a": ""},
        {"a": "x y"},
        {f"l{n}": "x" for n in range(MAX_LABELS + 1)},
    ):
        with pytest.raises(InvalidRequest):
            checked_labels(labels)
