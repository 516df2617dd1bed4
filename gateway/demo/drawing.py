"""Draws the stand-in's pictures: colours and shapes from a digest of the prompt, and a label that says so.

The same prompt, index, size and label give the same pixels on every machine. Refuses to know HTTP, and
never claims to be a model: every picture carries the words STAND-IN.
"""

from __future__ import annotations

import io
from hashlib import blake2b
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

Format = Literal["png", "jpeg", "webp"]

_GRID = 4  # the digest's bytes fill a 4 x 4 RGB picture, which is blown up smoothly
_SHAPES = 5


def draw(
    prompt: str, index: int, *, width: int, height: int, label: str, image_format: Format = "png"
) -> bytes:
    """An encoded picture of exactly `width` x `height` pixels.

    `index` tells the pictures of one request apart; `label` is written under the words STAND-IN.
    """
    digest = blake2b(f"{index}\0{prompt}".encode(errors="surrogatepass"), digest_size=64).digest()
    picture = Image.frombytes("RGB", (_GRID, _GRID), digest[: 3 * _GRID * _GRID]).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    _shapes(picture, digest)
    _label(picture, label)
    encoded = io.BytesIO()
    match image_format:
        case "png":
            picture.save(encoded, "PNG", compress_level=1)
        case "jpeg":
            picture.save(encoded, "JPEG", quality=90)
        case "webp":
            picture.save(encoded, "WEBP", quality=85, method=0)
    return encoded.getvalue()


def _shapes(picture: Image.Image, digest: bytes) -> None:
    canvas = ImageDraw.Draw(picture, "RGBA")
    unit = min(picture.size)
    for shape in range(_SHAPES):
        x, y, size, tint = digest[44 + 4 * shape : 48 + 4 * shape]
        centre_x, centre_y = picture.width * x / 255, picture.height * y / 255
        radius = unit * (0.06 + 0.2 * size / 255)
        box = (centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius)
        colour = (tint, 255 - tint, digest[shape], 96)
        if tint % 2:
            canvas.ellipse(box, fill=colour)
        else:
            canvas.rounded_rectangle(box, radius=radius / 4, fill=colour)


def _label(picture: Image.Image, label: str) -> None:
    canvas = ImageDraw.Draw(picture, "RGBA")
    unit = max(10, picture.height // 24)
    big, small = ImageFont.load_default(unit * 1.6), ImageFont.load_default(unit * 0.8)
    band = picture.height - 4 * unit
    canvas.rectangle((0, band, picture.width, picture.height), fill=(0, 0, 0, 160))
    canvas.text((unit, band + unit * 0.4), "STAND-IN", font=big, fill=(255, 255, 255, 255))
    canvas.text((unit, band + unit * 2.4), label, font=small, fill=(230, 230, 230, 255))
