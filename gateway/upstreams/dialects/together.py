"""Together: `steps`, width and height apart, and `base64` where others say `b64_json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.images.request import read_size
from gateway.images.values import STEP_NAMES
from gateway.upstreams.dialects.dialect import Dialect, Fields, renamed

if TYPE_CHECKING:
    from gateway.upstreams.deployments import Deployment

RENAMED = {**dict.fromkeys(STEP_NAMES, "steps"), "size": "width"}


def for_together(fields: Fields, _deployment: Deployment) -> Fields:
    """Its own spellings."""
    sent = {name: value for name, value in fields.items() if name != "size"}
    pixels = read_size(str(fields.get("size", "")))
    if pixels is not None:
        sent["width"], sent["height"] = pixels
    if sent.get("response_format") == "b64_json":
        sent["response_format"] = "base64"
    return renamed(sent, dict.fromkeys(STEP_NAMES, "steps"))


TOGETHER = Dialect(
    "together",
    paths={"images.generate": "images/generations"},
    dropped=frozenset({"style", "quality", "background", "moderation", "stream", "partial_images"}),
    translate=for_together,
    renamed=RENAMED,
)
