"""xAI: shape and resolution in place of sizes, no styles; edits are JSON, never forms."""

from __future__ import annotations

from gateway.images.shapes import SHAPE_NAMES
from gateway.upstreams.dialects.dialect import Dialect
from gateway.upstreams.dialects.openai import PATHS

XAI = Dialect(
    "xai",
    paths=PATHS,
    dropped=frozenset(
        {"size", "width", "height", "style", "background", "moderation", "stream", "partial_images"}
    ),
    reads=frozenset(SHAPE_NAMES),
    json_edits=True,
    form_edits=False,
    usd_ticks="cost_in_usd_ticks",  # what was billed: docs.x.ai/developers/cost-tracking
)
