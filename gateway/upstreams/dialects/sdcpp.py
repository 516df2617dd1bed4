"""stable-diffusion.cpp: five fields; everything else rides inside the prompt, in a block of its own.

A client may have written such a block itself. It is read by a closed list, like parameters inside others, and
written anew with what stands beside it, so that there is one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.images.nested import BLOCK, agreeing, may_hold_block, parsed, refuse_others
from gateway.images.request import steps_of
from gateway.images.values import STEP_NAMES, real, refused
from gateway.upstreams.dialects.dialect import Dialect, Fields
from gateway.upstreams.dialects.openai import PATHS

if TYPE_CHECKING:
    from gateway.upstreams.deployments import Deployment

OWN = frozenset({"prompt", "n", "size", "output_format", "output_compression"})
IN_PROMPT = frozenset({*STEP_NAMES, "seed", "negative_prompt", "width", "height"})
OPENED, CLOSED = f"<{BLOCK}>", f"</{BLOCK}>"
IN_BLOCK = frozenset({"seed", "negative_prompt", "sample_params"})
IN_SAMPLING = frozenset({"sample_steps", "guidance"})
IN_GUIDANCE = frozenset({"txt_cfg", "distilled_guidance"})


def for_sdcpp(fields: Fields, _deployment: Deployment) -> Fields:
    """Steps, guidance, seed and negative prompt become the prompt's extra arguments."""
    sent = {name: value for name, value in fields.items() if name in OWN}
    prompt, block = in_prompt(fields)
    meant = agreeing(fields, block)
    extra: dict[str, Any] = {name: meant[name] for name in ("seed", "negative_prompt") if name in meant}
    sampling: dict[str, Any] = {}
    steps = steps_of(meant)
    if steps is not None:
        sampling["sample_steps"] = steps
    guidance = {name: block[name] for name in sorted(IN_GUIDANCE) if name in block}
    if guidance:
        sampling["guidance"] = guidance
    if sampling:
        extra["sample_params"] = sampling
    if "width" in fields and "size" not in fields:
        sent["size"] = f"{fields['width']}x{fields['height']}"
    if extra:
        arguments = json.dumps(extra).replace("<", "\\u003c")  # no text can end the block
        sent["prompt"] = f"{prompt} {OPENED}{arguments}{CLOSED}"
    elif "prompt" in sent:
        sent["prompt"] = prompt
    return sent


def heard_in_prompt(fields: Fields) -> Fields:
    """The steps and guidance of a block in the prompt, which is plain text to any other server."""
    _, block = in_prompt(fields)
    heard: Fields = {}
    steps = steps_of(agreeing(fields, block))
    if steps is not None:
        heard["steps"] = steps
    scale = real(block, "txt_cfg")
    if scale is not None and scale > 1:
        heard["guidance_passes"] = 2
    return heard


def in_prompt(fields: Fields) -> tuple[str, Fields]:
    """The prompt without its block, and what the block holds. Raises `InvalidRequest`."""
    prompt = fields.get("prompt") or ""
    if not may_hold_block(fields):
        return prompt, {}
    before, _, rest = prompt.partition(OPENED)
    written, closed, after = rest.partition(CLOSED)
    if not closed or BLOCK in (before + written + after).lower():
        raise refused("The prompt may hold one whole block of extra arguments.", "prompt")
    found = parsed(written, "prompt")
    refuse_others(found, IN_BLOCK, "prompt")
    sampling = _object(found, "sample_params", IN_SAMPLING)
    guidance = _object(sampling, "guidance", IN_GUIDANCE)
    for name in IN_GUIDANCE:
        real(guidance, name)
    sampling.pop("guidance", None)
    found.pop("sample_params", None)
    flat = {**found, **sampling, **guidance}
    plain = f"{before.rstrip()} {after.lstrip()}".strip()
    return plain, {name: value for name, value in flat.items() if value is not None}


def _object(found: Fields, name: str, names: frozenset[str]) -> Fields:
    value = found.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refused(f"'{name}' inside the prompt must be an object.", "prompt", "invalid_type")
    refuse_others(value, names, "prompt")
    return value


SDCPP = Dialect(
    "sdcpp",
    paths=PATHS,
    kept=OWN | IN_PROMPT,
    translate=for_sdcpp,
    renamed=dict.fromkeys(IN_PROMPT, "prompt"),
    hears=heard_in_prompt,
)
