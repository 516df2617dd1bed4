"""A body that is accepted asks for no more in anybody else's reading, and what is sent is what was priced.

Readers in the field differ on duplicates, letter case, numbers and what stands behind the document; each of
the readers here does one of these things differently.
"""

from __future__ import annotations

import email.parser
import email.policy
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.images.edits import read_edit_form
from gateway.images.form import FormReader
from gateway.images.request import read_generation
from gateway.images.values import STEP_NAMES
from gateway.upstreams.bodies import form_body, json_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.images.request import ImageRequest

NAMES = st.sampled_from(
    ["n", "N", "\\u006e", "ｎ", " n", "n\\u0000", "size", "Size", "s\\u0069ze", "width", "height", "steps",
     "Steps", "num_inference_steps", "quality", "frame_count", "partial_images", "samples", "novelty"]
)  # fmt: skip
VALUES = st.sampled_from(
    ["1", "2", "10", "11", "01", "1e1", "10.0", "-1", "-0", "1" * 20, '"10"', "true", "null", "NaN",
     "Infinity", "[2]", '{"n":9}', '"64x64"', '"4096x4096"', '"64X64"',
     '"\\u0036\\u0034x64"', '"64x64\\u0000"', '"auto"']
)  # fmt: skip
MEMBERS = st.tuples(NAMES, VALUES).map(lambda pair: f'"{pair[0]}":{pair[1]}')
AROUND = st.sampled_from(["", " ", "\ufeff", "\n", '{"n":10}', "//", "\x00", ","])


def first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def folding(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name.casefold().strip(): value for name, value in pairs}


def up_to_the_end(text: str) -> Any:
    """A reader that stops behind the first document."""
    return json.JSONDecoder().raw_decode(text.lstrip("\ufeff \n"))[0]


READERS: list[Callable[[bytes], Any]] = [
    json.loads,
    msgspec.json.decode,
    lambda body: json.loads(body, object_pairs_hook=first_wins),
    lambda body: json.loads(body, object_pairs_hook=folding),
    lambda body: up_to_the_end(body.decode("utf-8", "replace")),
]


def amounts(document: dict[str, Any]) -> tuple[int, int, int]:
    """Images, pixels and steps as a lenient service would take them."""

    def number(value: Any) -> int:
        try:
            return int(float(value))
        except (TypeError, ValueError, OverflowError):
            return 0

    size = str(document.get("size") or "0x0").lower().replace("*", "x").partition("x")
    pixels = number(size[0]) * number(size[2])
    pixels = max(pixels, number(document.get("width")) * number(document.get("height")))
    return number(document.get("n")), pixels, max(number(document.get(name)) for name in STEP_NAMES)


def no_more(read: tuple[int, int, int], request: ImageRequest) -> bool:
    """Whether another reading is covered by ours, in every amount."""
    pixels = (request.width or 0) * (request.height or 0)
    ours = (request.n, pixels, request.steps or 0)
    return all(theirs <= mine for theirs, mine in zip(read, ours, strict=True))


@settings(max_examples=600)
@given(st.lists(MEMBERS, max_size=6), AROUND, AROUND)
@example(['"n":1', '"n":10'], "", "")
@example(['"n":1', '"N":10'], "", "")
@example(['"n":1e1'], "", "")
def test_no_reader_takes_an_accepted_body_for_more_work(members: list[str], before: str, after: str) -> None:
    text = before + "{" + ",".join(['"model":"m"', '"prompt":"a cat"', *members]) + "}" + after
    body = text.encode("utf-8", "surrogatepass")
    try:
        request = read_generation(body)
    except InvalidRequest:
        return

    sent = json_body(request.fields).content
    assert isinstance(sent, bytes)
    for written in (body, sent):
        for reader in READERS:
            read = amounts(reader(written))
            assert no_more(read, request)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_a_body_with_bytes_changed_anywhere_is_refused_or_still_no_more(noise: bytes, place: int) -> None:
    whole = b'{"model":"m","prompt":"a cat","n":2,"size":"64x64"}'
    body = whole[:place] + noise + whole[place + len(noise) :]
    try:
        request = read_generation(body)
    except InvalidRequest:
        return

    for reader in READERS:
        read = amounts(reader(body))
        assert no_more(read, request)


FIELD_NAMES = st.sampled_from(
    ["n", "N", "n ", "size", "steps", "prompt", "model", "novelty", "n[]", 'n"; name="x']
)
FIELD_VALUES = st.sampled_from(
    ["1", "10", "1e1", " 10", "10\r\n", "64x64", "4096x4096", "--b", "\r\n--b--", "é", "\x00"]
)
EXTRAS = st.sampled_from(
    ["", "Content-Type: text/plain; charset=utf-8\r\n", "Content-Transfer-Encoding: base64\r\n",
     "Content-Disposition: form-data; name=n\r\n", "X-A: b\r\n"]
)  # fmt: skip
PARTS = st.tuples(FIELD_NAMES, FIELD_VALUES, EXTRAS)
EDGES = st.sampled_from(["", "\r\n", "preamble\r\n", "\r\n--b\r\n", "--b--\r\n"])


def form_of(parts: list[tuple[str, str, str]], before: str, after: str) -> bytes:
    text = before
    for name, value, extra in [("model", "m", ""), *parts]:
        text += f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n{extra}\r\n{value}\r\n'
    picture = '--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nabc\r\n'
    return (text + picture + "--b--\r\n" + after).encode()


def by_email(body: bytes, boundary: str, *, last: bool) -> dict[str, str]:
    """The form as the standard library's parser of mail reads it; of a name given twice the first or last."""
    head = f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields: dict[str, str] = {}
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str) and part.get_filename() is None and not part.is_multipart():
            content = part.get_payload(decode=True)
            value = content.decode("utf-8", "replace") if isinstance(content, bytes) else ""
            fields[name] = value if last else fields.get(name, value)
    return fields


@settings(max_examples=400)
@given(st.lists(PARTS, max_size=4), EDGES, EDGES, st.integers(1, 64))
@example([("n", "1", ""), ("n", "10", "")], "", "", 7)
@example([('n"; name="x', "10", "")], "", "", 64)
def test_no_reader_takes_an_accepted_form_for_more_work(
    parts: list[tuple[str, str, str]], before: str, after: str, step: int
) -> None:
    body = form_of([("prompt", "a cat", ""), *parts], before, after)
    reader = FormReader("multipart/form-data; boundary=b")
    with closing(reader.form):
        try:
            for start in range(0, len(body), step):
                reader.feed(body[start : start + step])
            request = read_edit_form(reader.finish())
        except InvalidRequest:
            return

        assert request.form is not None
        sent = form_body(request.form, request.fields)
        pieces = sent.content.pieces if not isinstance(sent.content, bytes) else ()
        written = b"".join(piece if isinstance(piece, bytes) else b"abc" for piece in pieces)
        for text, boundary in ((body, "b"), (written, sent.content_type.partition("boundary=")[2])):
            for last in (True, False):
                assert no_more(amounts(by_email(text, boundary, last=last)), request)
