"""Broken and two-faced bodies for the JSON and the form reader, for as long as is wished (X3).

What our reader takes, no other reader of the field may read as more work: a larger count or another size.
What it does not take it refuses by `InvalidRequest`, and by nothing else. `python -m tests.images.fuzz json
600` runs for ten minutes; the seed is the first word of what it prints.
"""

from __future__ import annotations

import email.parser
import email.policy
import json
import random
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import InvalidRequest
from gateway.images.edits import read_edit_form
from gateway.images.form import FormReader
from gateway.images.request import read_generation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.images.request import ImageRequest

BOUNDARY = "bOuNdArY"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
JSON_SEEDS = (
    b'{"model":"m","prompt":"a cat","n":2,"size":"64x64"}',
    b'{"model":"m","prompt":"a \\u00e9 cat","n":1,"steps":20,"width":64,"height":64,"stream":false}',
    b'{"prompt":"p","model":"m","extra":{"deep":[1,2,{"n":3}]},"n":3}',
)
JSON_PIECES = (
    b'"n":10',
    b'"n":1e1',
    b'"N":9',
    b'"n":"9"',
    b'"n":-1',
    b'"n":01',
    b',"n":8',
    b'"size":"4096x4096"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"NaN",
    b"1e999",
    b"/*x*/",
    b"null",
    b"true",
    b"\xc3\xa9",
    "\uff4e".encode(),
    b'"\\u006e":7',
    b"99999999999999999999",
    b" ",
    b"\n",
)
FORM_PIECES = (
    f"--{BOUNDARY}".encode(),
    f"--{BOUNDARY}--".encode(),
    b"\r\n",
    b"\n",
    b"\r",
    b'; name="n"',
    b'; name="size"',
    b'name*="n"',
    b'filename="x"',
    b"filename*=UTF-8''n",
    b"Content-Disposition: form-data",
    b"10",
    b"4096x4096",
    b"Content-Transfer-Encoding: base64",
    b"\x00",
    b"\xff",
    b";",
    b'"',
    b"--",
    b"Content-Type: text/plain",
)


def form_seed(chance: random.Random) -> bytes:
    fields = [("model", "m"), ("prompt", "p"), ("n", "2"), ("size", "64x64"), ("n", "3")]
    chosen = chance.sample(fields, chance.randint(2, len(fields)))
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in chosen
    ]
    parts.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
        "Content-Type: image/png\r\n\r\n....\r\n"
    )
    chance.shuffle(parts)
    return ("".join(parts) + f"--{BOUNDARY}--\r\n").encode()


def broken(body: bytes, pieces: tuple[bytes, ...], chance: random.Random) -> bytes:
    """The body with up to four things done to it."""
    for _ in range(chance.randint(0, 4)):
        at, end = sorted(chance.randrange(len(body) + 1) for _ in range(2))
        match chance.randrange(5):
            case 0:
                body = body[:at] + chance.choice(pieces) + body[at:]
            case 1:
                body = body[:at] + body[min(end, at + 8) :]
            case 2:
                body = body[:at] + body[at:end] * 2 + body[end:]
            case 3:
                body = body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
            case _:
                body = body[:at] + chance.choice(pieces) + body[end:]
    return body


def first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def folded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name.casefold(): value for name, value in pairs}


def others_of_json(body: bytes) -> Iterator[Any]:
    """The body as other readers have it, those that take it."""
    readers: list[Callable[[bytes], Any]] = [
        json.loads,
        lambda text: json.loads(text, object_pairs_hook=first_wins),
        lambda text: json.loads(text, object_pairs_hook=folded),
        lambda text: json.loads(text.decode("utf-8", "replace"), strict=False),
        msgspec.json.decode,
    ]
    for reader in readers:
        try:
            yield reader(body)
        except (ValueError, RecursionError):
            continue


def others_of_form(body: bytes) -> Iterator[Any]:
    head = f"Content-Type: {CONTENT_TYPE}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(head + body)
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        if name in {"n", "size"} and part.get_filename() is None:
            payload = part.get_payload(decode=True)
            yield {
                str(name): payload.decode("utf-8", "replace").strip() if isinstance(payload, bytes) else ""
            }


def agrees(request: ImageRequest, other: Any) -> bool:
    """Whether another reader sees no more images and no other size than we price."""
    if not isinstance(other, dict):
        return False
    count, size = other.get("n"), other.get("size")
    try:
        more = count is not None and float(count) > request.n
    except (TypeError, ValueError, OverflowError):
        more = True
    return not more and (size in (None, "", "auto") or str(size).replace("*", "x").lower() == request.size)


def one(reader: str, chance: random.Random) -> bool:
    """One body; whether it was taken. Raises when the reader fails, or another one reads more."""
    if reader == "json":
        body = broken(chance.choice(JSON_SEEDS), JSON_PIECES, chance)
    else:
        body = broken(form_seed(chance), FORM_PIECES, chance)
    try:
        request = read_generation(body) if reader == "json" else read_form(body, chance)
    except InvalidRequest:
        return False
    others = others_of_json(body) if reader == "json" else others_of_form(body)
    for other in others:
        assert agrees(request, other), (body, request.n, request.size, other)
    request.close()
    return True


def read_form(body: bytes, chance: random.Random) -> ImageRequest:
    form_reader = FormReader(CONTENT_TYPE)
    try:
        at = 0
        while at < len(body):
            size = chance.randint(1, len(body))
            form_reader.feed(body[at : at + size])
            at += size
        return read_edit_form(form_reader.finish())
    except InvalidRequest:
        form_reader.form.close()
        raise


def fuzz(reader: str, seconds: float, seed: int) -> tuple[int, int]:
    """How many bodies were tried, and how many of them were taken."""
    chance = random.Random(seed)
    tried = taken = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        taken += one(reader, chance)
        tried += 1
    return tried, taken


if __name__ == "__main__":
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else time.time_ns()
    print(seed, flush=True)  # noqa: T201
    tried, taken = fuzz(sys.argv[1], float(sys.argv[2]), seed)
    print(f"{tried} bodies, {taken} of them taken, none read as more by another reader")  # noqa: T201
