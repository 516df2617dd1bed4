"""stable-diffusion.cpp: five fields; everything else rides inside the prompt, in a block of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.images.request import STEP_NAMES
from gateway.upstreams.dialects.dialect import Dialect, Fields
from gateway.upstreams.dialects.openai import PATHS

if TYPE_CHECKING:
    from gateway.upstreams.deployments import Deployment

OWN = frozenset({"prompt", "n", "size", "output_format", "output_compression"})
IN_PROMPT = frozenset({*STEP_NAMES, "seed", "negative_prompt", "width", "height"})


def for_sdcpp(fields: Fields, _deployment: Deployment) -> Fields:
    """Steps, seed and negative prompt become the prompt's extra arguments."""
    sent = {name: value for name, value in fields.items() if name in OWN}
    extra: dict[str, Any] = {name: fields[name] for name in ("seed", "negative_prompt") if name in fields}
    steps = next((fields[name] for name in STEP_NAMES if fields.get(name) is not None), None)
    if steps is not None:
        extra["sample_params"] = {"sample_steps": steps}
    if "width" in fields and "size" not in fields:
        sent["size"] = f"{fields['width']}x{fields['height']}"
    if extra:
        sent["prompt"] = f"{sent['prompt']} <sd_cpp_extra_args>{json.dumps(extra)}</sd_cpp_extra_args>"
    return sent


SDCPP = Dialect(
    "sdcpp",
    paths=PATHS,
    kept=OWN | IN_PROMPT,
    translate=for_sdcpp,
    renamed=dict.fromkeys(IN_PROMPT, "prompt"),
)
