"""Two requests have the same fingerprint when they ask for the same, and only then."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.images.edits import read_edit, read_edit_form
from gateway.images.fingerprint import fingerprint
from gateway.images.form import FormReader
from gateway.images.request import read_generation

SECRET = b"a secret of the deployment"
ASK: dict[str, Any] = {"model": "m", "prompt": "a cat", "n": 2, "size": "512x512", "seed": 7}


def of(fields: dict[str, Any], secret: bytes = SECRET) -> str:
    return fingerprint(read_generation(json.dumps(fields).encode()), secret)


def of_form(picture: bytes, prompt: str = "a cat", name: str = "image", boundary: str = "b") -> str:
    lines = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'.encode(),
        f'--{boundary}\r\ncontent-disposition: form-data; name="prompt"\r\n\r\n{prompt}\r\n'.encode(),
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"; filename="a.png"\r\n'.encode(),
        b"content-type: image/png\r\n\r\n" + picture + f"\r\n--{boundary}--\r\n".encode(),
    ]
    reader = FormReader(f"multipart/form-data; boundary={boundary}")
    reader.feed(b"".join(lines))
    request = read_edit_form(reader.finish())
    try:
        return fingerprint(request, SECRET)
    finally:
        request.close()


@given(st.permutations(sorted(ASK)))
def test_the_order_of_fields_does_not_matter(order: list[str]) -> None:
    assert of({name: ASK[name] for name in order}) == of(ASK)


@given(
    st.dictionaries(st.sampled_from(["seed", "user", "style", "x"]), st.integers(0, 3), max_size=3),
    st.dictionaries(st.sampled_from(["seed", "user", "style", "x"]), st.integers(0, 3), max_size=3),
)
def test_any_other_field_or_value_makes_another_fingerprint(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert (of(ASK | {"extra": one}) == of(ASK | {"extra": two})) == (one == two)


@pytest.mark.parametrize("change", [{"n": 1}, {"prompt": "a cat "}, {"seed": 8}, {"quality": "low"}])
def test_a_changed_field_makes_another_fingerprint(change: dict[str, Any]) -> None:
    assert of(ASK | change) != of(ASK)


def test_the_same_fields_on_another_route_or_under_another_secret_differ() -> None:
    edit = read_edit(json.dumps({"model": "m", "prompt": "a", "image": "https://x.example/a.png"}).encode())

    assert of(ASK, b"other") != of(ASK)
    assert fingerprint(edit, SECRET) != of({"model": "m", "prompt": "a"})


@given(st.binary(max_size=40).filter(lambda picture: b"\r\n" not in picture))
def test_files_count_by_their_content_and_not_by_the_boundary_between_them(picture: bytes) -> None:
    assert of_form(picture) == of_form(picture, boundary="another")
    assert of_form(picture) != of_form(picture + b"x")


def test_a_form_counts_by_its_fields_and_by_which_file_is_which() -> None:
    same = of_form(b"p")

    assert of_form(b"p", prompt="a dog") != same
    assert of_form(b"p", name="image[]") != same


def test_a_fingerprint_shows_nothing_of_the_request() -> None:
    found = of(ASK)

    assert len(found) == 64
    assert int(found, 16) >= 0
