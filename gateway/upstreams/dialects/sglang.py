"""SGLang-diffusion: OpenAI's fields and its own beside them; reports the seconds that its worker took."""

from __future__ import annotations

from gateway.upstreams.dialects.dialect import DIFFUSERS_STEPS, Dialect, beside_others
from gateway.upstreams.dialects.openai import PATHS

SGLANG = Dialect(
    "sglang",
    paths=PATHS,
    dropped=frozenset({"style", "quality", "moderation", "stream", "partial_images"}),
    translate=lambda fields, _: beside_others(fields, "diffusers_kwargs"),
    renamed={"diffusers_kwargs": "num_inference_steps", **DIFFUSERS_STEPS},
    reads=frozenset({"diffusers_kwargs"}),
)
