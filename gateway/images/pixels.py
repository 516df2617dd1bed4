"""The size of a picture from its first bytes, and from the text that carries it in JSON.

Refuses to decode pictures: headers are enough.
"""

from __future__ import annotations

import base64
import binascii
import io
import re

import imagesize

DATA_URL = re.compile(rb"data:image/[a-z0-9.+-]{1,32};base64,", re.IGNORECASE)

Pixels = tuple[int, int]


def pixels_of(head: bytes) -> Pixels | None:
    """Width and height of a PNG, JPEG, WebP, GIF or other picture that begins with `head`."""
    try:
        width, height = imagesize.get(io.BytesIO(head))
    except Exception:  # noqa: BLE001 - whatever an odd picture does to its reader, its size is not known
        return None
    return (int(width), int(height)) if width > 0 and height > 0 else None


def pixels_in_text(text: bytes) -> Pixels | None:
    """The same for a picture in base64, bare or as a data URL, as it stands in a JSON string."""
    text = text.replace(b"\\/", b"/")
    url = DATA_URL.match(text)
    if url is not None:
        text = text[url.end() :]
    try:
        return pixels_of(base64.b64decode(text[: len(text) // 4 * 4]))
    except binascii.Error:
        return None
