"""Sizes by class and shape (`2k`, `16:9`), as services name them that take no numbers of pixels.

A class has the area of a square with its edge, whatever the shape: an estimate, settled by the pictures that
come. Refuses to guess what a name means that is not in the tables.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from gateway.images.values import left_open, refused, text

SHAPE_NAMES = ("aspect_ratio", "resolution")
EDGES_PX = {"0.5K": 512, "1K": 1024, "2K": 2048, "4K": 4096}
"""Classes of OpenRouter and Gemini; xAI (docs.x.ai, image generation) has `1k` and `2k`."""
CLASSES = {**{name.lower(): name for name in EDGES_PX}, **{name: name for name in EDGES_PX}}
SHAPES = {
    "1:1": (1, 1), "3:4": (3, 4), "4:3": (4, 3), "9:16": (9, 16), "16:9": (16, 9), "2:3": (2, 3),
    "3:2": (3, 2), "9:19.5": (9, 19.5), "19.5:9": (19.5, 9), "9:20": (9, 20), "20:9": (20, 9), "1:2": (1, 2),
    "2:1": (2, 1), "4:5": (4, 5), "5:4": (5, 4), "9:21": (9, 21), "21:9": (21, 9),
}  # fmt: skip
"""xAI's thirteen, and those that OpenRouter adds."""


def pixels_of_class(name: str, shape: tuple[float, float]) -> tuple[int, int]:
    """Width and height of one of `EDGES_PX` in a shape."""
    stretched = sqrt(shape[0] / shape[1])
    return round(EDGES_PX[name] * stretched), round(EDGES_PX[name] / stretched)


def read_shape(fields: dict[str, Any]) -> tuple[int, int] | None:
    """The pixels that `resolution` and `aspect_ratio` stand for; a shape alone does not say how many.

    Raises `InvalidRequest` for names that are in no table.
    """
    shape = left_open(text(fields, "aspect_ratio", limit=16))
    if shape is not None and shape not in SHAPES:
        raise refused(f"'aspect_ratio' must be one of {', '.join(SHAPES)}.", "aspect_ratio")
    resolution = left_open(text(fields, "resolution", limit=16))
    if resolution is None:
        return None
    if resolution not in CLASSES:
        raise refused(f"'resolution' must be one of {', '.join(CLASSES)}.", "resolution")
    return pixels_of_class(CLASSES[resolution], SHAPES[shape] if shape is not None else (1, 1))
