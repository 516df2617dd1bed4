"""Every dialect by the name that deployments use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.upstreams.dialects.azure import AZURE
from gateway.upstreams.dialects.localai import LOCALAI
from gateway.upstreams.dialects.openai import OPENAI
from gateway.upstreams.dialects.openrouter import OPENROUTER
from gateway.upstreams.dialects.sdcpp import SDCPP
from gateway.upstreams.dialects.sglang import SGLANG
from gateway.upstreams.dialects.together import TOGETHER
from gateway.upstreams.dialects.vllm_omni import VLLM_OMNI
from gateway.upstreams.dialects.xai import XAI
from gateway.upstreams.dialects.xinference import XINFERENCE

if TYPE_CHECKING:
    from gateway.upstreams.deployments import Deployment
    from gateway.upstreams.dialects.dialect import Dialect

DIALECTS = {
    dialect.name: dialect
    for dialect in (OPENAI, AZURE, VLLM_OMNI, SGLANG, SDCPP, LOCALAI, XINFERENCE, TOGETHER, XAI, OPENROUTER)
}


def dialect_of(deployment: Deployment) -> Dialect:
    """The dialect that a deployment speaks."""
    return DIALECTS[deployment.dialect]
