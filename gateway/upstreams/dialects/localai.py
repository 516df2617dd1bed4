"""LocalAI: `step` for steps, and the negative prompt behind a bar in the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.images.values import STEP_NAMES
from gateway.upstreams.dialects.dialect import Dialect, Fields, renamed

if TYPE_CHECKING:
    from gateway.upstreams.deployments import Deployment

RENAMED = {**dict.fromkeys(STEP_NAMES, "step"), "negative_prompt": "prompt"}


def for_localai(fields: Fields, _deployment: Deployment) -> Fields:
    """Its own spellings."""
    sent = renamed({name: value for name, value in fields.items() if name != "negative_prompt"}, RENAMED)
    if fields.get("negative_prompt"):
        sent["prompt"] = f"{fields['prompt']}|{fields['negative_prompt']}"
    if "width" in sent and "size" not in sent:
        sent["size"] = f"{sent['width']}x{sent['height']}"
    return sent


LOCALAI = Dialect(
    "localai",
    paths={"images.generate": "images/generations"},
    dropped=frozenset({"style", "moderation", "stream", "partial_images"}),
    translate=for_localai,
    renamed=RENAMED,
)
