"""Azure OpenAI: the same bodies, another header for the key; edits only as forms.

A base URL ends in `/openai/v1` or in `/openai/deployments/NAME`; the latter needs `api_version`. Responses
are below the former only, and name the deployment that draws in a header (`image_deployment`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.upstreams.dialects.dialect import Dialect, Fields
from gateway.upstreams.dialects.openai import OF_OLDER_MODELS, QUALITIES, WITH_RESPONSES

if TYPE_CHECKING:
    from gateway.upstreams.deployments import Deployment


def for_azure(fields: Fields, _deployment: Deployment) -> Fields:
    """A deployment's name says nothing about its model; only GPT image models are left there."""
    kept = {name: value for name, value in fields.items() if name not in OF_OLDER_MODELS}
    if kept.get("quality") in QUALITIES:
        kept["quality"] = QUALITIES[kept["quality"]]
    return kept


AZURE = Dialect("azure", paths=WITH_RESPONSES, translate=for_azure, key_header="api-key")
