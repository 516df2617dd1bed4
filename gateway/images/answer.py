"""What an image service really gave back: how many images, how large, which token usage.

Reads facts out of an Images API answer and keeps no picture. Refuses to judge them: pricing is elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from typing import Any

import imagesize
import msgspec

from gateway.images.request import read_size

HEADER_CHARACTERS = 64 * 1024
"""Base64 characters read to find an image's size: enough for the metadata that stands before it."""


class _Item(msgspec.Struct):
    b64_json: msgspec.Raw = msgspec.Raw()
    url: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct):
    data: list[_Item] | None = None
    usage: dict[str, Any] | None = None
    size: str | None = None
    quality: str | None = None


class UnreadableAnswer(ValueError):
    """The answer is not an Images API answer: not JSON, of other types, or an error in a 200."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Facts about an answer. `None` means that the answer does not say."""

    images: int
    width: int | None
    height: int | None
    quality: str | None
    output_tokens: int | None
    usage: dict[str, Any] | None


def read_answer(body: bytes | memoryview) -> Delivered:
    """The facts in an answer of `POST /v1/images/generations`.

    Raises `UnreadableAnswer` when the body is no such answer.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableAnswer("the answer is not the JSON of an Images API answer") from None
    if answer.data is None:
        raise UnreadableAnswer("the answer has no images")
    images = [item for item in answer.data if _present(item.b64_json) or _present(item.url)]
    sizes = {size for item in images if (size := _pixels(item)) is not None}
    echoed = read_size(answer.size) if answer.size else None
    # Images of one answer share their size; where they do not, the largest is the cautious one.
    width, height = max(sizes, key=lambda size: size[0] * size[1]) if sizes else (echoed or (None, None))
    usage = _numbers(answer.usage) if answer.usage else None
    return Delivered(
        images=len(images),
        width=width,
        height=height,
        quality=answer.quality,
        output_tokens=_tokens(usage),
        usage=usage,
    )


def _present(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:4]) not in (b"", b"null", b'""')


def _pixels(item: _Item) -> tuple[int, int] | None:
    if not _present(item.b64_json):
        return None
    text = bytes(memoryview(item.b64_json)[1 : 1 + HEADER_CHARACTERS]).rstrip(b'"')
    try:
        head = base64.b64decode(text[: len(text) // 4 * 4])
    except binascii.Error:
        return None
    width, height = imagesize.get(io.BytesIO(head))
    return (int(width), int(height)) if width > 0 and height > 0 else None


def _tokens(usage: dict[str, Any] | None) -> int | None:
    tokens = usage.get("output_tokens") if usage else None
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def _numbers(usage: dict[str, Any]) -> dict[str, Any]:
    """Only the numbers of a usage object, two levels deep: no text of a service is stored."""
    kept: dict[str, Any] = {}
    for name, value in list(usage.items())[:32]:
        if not name.isidentifier() or len(name) > 64:  # noqa: PLR2004
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            kept[name] = value
        elif isinstance(value, dict):
            inner = {
                key: number
                for key, number in list(value.items())[:32]
                if key.isidentifier() and isinstance(number, int | float) and not isinstance(number, bool)
            }
            if inner:
                kept[name] = inner
    return kept
