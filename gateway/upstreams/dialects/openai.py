"""OpenAI: the dialect of the requests themselves.

Its GPT image models refuse parameters of the older models that some clients still send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.upstreams.dialects.dialect import Dialect, Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.images.request import Route
    from gateway.upstreams.deployments import Deployment

GPT_IMAGE = ("gpt-image-", "chatgpt-image-")
OF_OLDER_MODELS = frozenset({"response_format", "style"})
QUALITIES = {"standard": "medium", "hd": "high"}


def for_gpt_image(fields: Fields, _deployment: Deployment) -> Fields:
    """Without what a GPT image model refuses; its qualities have other names."""
    if not str(fields.get("model", "")).startswith(GPT_IMAGE):
        return fields
    kept = {name: value for name, value in fields.items() if name not in OF_OLDER_MODELS}
    if kept.get("quality") in QUALITIES:
        kept["quality"] = QUALITIES[kept["quality"]]
    return kept


PATHS: Mapping[Route, str] = {"images.generate": "images/generations", "images.edit": "images/edits"}
WITH_RESPONSES: Mapping[Route, str] = {**PATHS, "responses": "responses"}
OPENAI = Dialect("openai", paths=WITH_RESPONSES, translate=for_gpt_image, json_edits=True)
