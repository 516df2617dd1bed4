"""vLLM-Omni: serves one model and refuses any other name; its profiler reports compute time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.upstreams.dialects.dialect import DIFFUSERS_STEPS, Dialect, Fields, beside_others
from gateway.upstreams.dialects.openai import PATHS

if TYPE_CHECKING:
    from gateway.upstreams.deployments import Deployment


def for_vllm_omni(fields: Fields, deployment: Deployment) -> Fields:
    """Without the client's name of the model, which the server would not know."""
    fields = beside_others(fields, "extra_params")
    if deployment.upstream_model is not None:
        return fields
    return {name: value for name, value in fields.items() if name != "model"}


VLLM_OMNI = Dialect(
    "vllm-omni",
    paths=PATHS,
    translate=for_vllm_omni,
    dropped=frozenset({"style", "quality", "moderation"}),
    reads=frozenset({"extra_params"}),
    renamed={"extra_params": "num_inference_steps", **DIFFUSERS_STEPS},
)
