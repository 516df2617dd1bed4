"""A body of `POST /v1/chat/completions`, read strictly: images by `modalities`, in every choice, and text.

The model itself draws. How large is in `image_config`, how many choices in `n`; how many images a choice
holds nobody says. Refuses to know deployments and prices.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from gateway.conversations.asking import (
    MAX_TEXT_TOKENS,
    OWN_TOOLS,
    pictures_in,
    read_fields,
    tools_of,
    unmeasured_tool,
)
from gateway.images.request import MAX_IMAGES, UNPRICED, ImageRequest, Text, named, understood
from gateway.images.shapes import EDGES_PX, pixels_of_class
from gateway.images.values import flag, refused, text, whole

KNOWN_IN_CHAT = frozenset(
    {
        "frequency_penalty", "function_call", "functions", "image_config", "include_reasoning", "logit_bias",
        "logprobs", "max_completion_tokens", "max_tokens", "messages", "metadata", "min_p", "modalities",
        "model", "n", "parallel_tool_calls", "presence_penalty", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "reasoning", "reasoning_effort", "repetition_penalty", "response_format",
        "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options",
        "temperature", "tool_choice", "tools", "top_a", "top_k", "top_logprobs", "top_p", "usage", "user",
        "verbosity",
    }
)  # fmt: skip
UNPRICED_IN_CHAT = frozenset(
    {
        "audio", "models", "moderation", "plugins", "prediction", "preset", "prompt", "provider", "route",
        "transforms", "web_search_options",
    }
)  # fmt: skip
"""Fields that have other models, other providers or hosted tools do work that the answer does not tell."""
MODALITIES = ("text", "image")
RATIO = re.compile(r"([1-9][0-9]?):([1-9][0-9]?)")


def read_chat(body: bytes, *, model: str | None = None) -> ImageRequest:
    """The body as a request for images, text, or both; `model` as the path names it.

    Raises `InvalidRequest`.
    """
    fields = named(read_fields(body, KNOWN_IN_CHAT, UNPRICED_IN_CHAT), model)
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise refused("'messages' must be a list of messages.", "messages", "missing_required_parameter")
    for index, kind, _ in tools_of(fields):
        if kind not in OWN_TOOLS:
            raise unmeasured_tool(index)
    choices = whole(fields, "n", 1, MAX_IMAGES) or 1
    drawn = understood({"prompt": "-", "model": "-"}, "images.generate", UNPRICED)
    width, height = _size(fields)
    draws = "image" in _modalities(fields)
    return replace(
        drawn,
        route="chat",
        model=text(fields, "model", required=True, limit=256),
        n=choices if draws else 0,
        calls=None if draws else 0,
        width=width,
        height=height,
        stream=flag(fields, "stream"),
        fields=fields,
        input_images=pictures_in(messages),
        text=Text(_most_tokens(fields), choices=choices),
        known=KNOWN_IN_CHAT,
    )


def _modalities(fields: dict[str, Any]) -> list[Any]:
    modalities = fields.get("modalities")
    if modalities is None:
        return ["text"]
    if (
        not isinstance(modalities, list)
        or not modalities
        or not all(map(MODALITIES.__contains__, modalities))
    ):
        raise refused("'modalities' can hold 'text' and 'image'.", "modalities", "unsupported_value")
    return modalities


def _size(fields: dict[str, Any]) -> tuple[int | None, int | None]:
    """Pixels by class and shape; a shape alone does not say how many."""
    config = fields.get("image_config")
    if config is None:
        return None, None
    if not isinstance(config, dict):
        raise refused("'image_config' must be an object.", "image_config", "invalid_type")
    for name in config:
        if name not in {"aspect_ratio", "image_size"}:
            raise refused(
                "'image_config' can hold 'aspect_ratio' and 'image_size'.",
                "image_config",
                "unsupported_parameter",
            )
    given = text(config, "aspect_ratio", limit=8)
    ratio = RATIO.fullmatch(given) if given is not None else None
    if given is not None and ratio is None:
        raise refused("'aspect_ratio' must be like 16:9.", "image_config.aspect_ratio")
    size = text(config, "image_size", limit=8)
    if size is None:
        return None, None
    if size not in EDGES_PX:
        raise refused(f"'image_size' must be one of {', '.join(EDGES_PX)}.", "image_config.image_size")
    return pixels_of_class(size, (int(ratio[1]), int(ratio[2])) if ratio is not None else (1, 1))


def _most_tokens(fields: dict[str, Any]) -> int | None:
    """The most that a choice may have written."""
    bounds = [whole(fields, name, 1, MAX_TEXT_TOKENS) for name in ("max_completion_tokens", "max_tokens")]
    given = [bound for bound in bounds if bound is not None]
    return max(given) if given else None
