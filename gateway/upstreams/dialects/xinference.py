"""Xinference: sampling parameters ride in `kwargs`, a JSON text; streams are not known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.images.nested import unfolded
from gateway.images.values import STEP_NAMES
from gateway.upstreams.dialects.dialect import Dialect, Fields

if TYPE_CHECKING:
    from gateway.upstreams.deployments import Deployment

IN_KWARGS = {
    **dict.fromkeys(STEP_NAMES, "num_inference_steps"),
    "guidance_scale": "guidance_scale",
    "true_cfg_scale": "true_cfg_scale",
    "negative_prompt": "negative_prompt",
    "seed": "seed",
    "strength": "strength",
}
SIZES = frozenset({"width", "height"})
OWN = SIZES | {"model", "prompt", "n", "size", "response_format", "user"}


def for_xinference(fields: Fields, _deployment: Deployment) -> Fields:
    """The server's own fields, and `kwargs` for the rest that it knows."""
    sent = {name: value for name, value in fields.items() if name in OWN - SIZES}
    if "width" in fields and "size" not in fields:
        sent["size"] = f"{fields['width']}*{fields['height']}"
    meant = unfolded(fields)
    extra = {
        IN_KWARGS[name]: value for name, value in meant.items() if name in IN_KWARGS and value is not None
    }
    if extra:
        sent["kwargs"] = json.dumps(extra)
    return sent


XINFERENCE = Dialect(
    "xinference",
    paths={
        "images.generate": "images/generations",
        "images.edit": "images/edits",
        "images.variation": "images/variations",
    },
    kept=OWN | frozenset(IN_KWARGS) | {"kwargs"},
    reads=frozenset({"kwargs"}),
    translate=for_xinference,
    renamed={**dict.fromkeys(IN_KWARGS, "kwargs"), "width": "size", "height": "size"},
)
