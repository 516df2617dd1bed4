"""A body of `POST /v1/responses`, read strictly: which images its tool may make, and how much text.

The image model works in a tool of the text model, so two models are asked at once. What is drawn is in the
tool's object, how often in `max_tool_calls`. Refuses to know deployments and prices.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.conversations.asking import (
    MAX_TEXT_TOKENS,
    OWN_TOOLS,
    kind_of,
    objects_in,
    pictures_in,
    read_fields,
    tools_of,
    unmeasured_tool,
)
from gateway.errors import InvalidRequest
from gateway.images.request import KNOWN, UNPRICED, ImageRequest, Text, understood
from gateway.images.values import flag, refused, text, whole

IMAGE_TOOL = "image_generation"
DRAWN_BEFORE = "image_generation_call"
MAX_TOOL_CALLS = 1_000
KNOWN_IN_RESPONSES = frozenset(
    {
        "access_programs", "conversation", "image", "include", "input", "instructions", "max_output_tokens",
        "max_tool_calls", "metadata", "model", "parallel_tool_calls", "previous_response_id",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
        "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature", "text",
        "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user", "verbosity", "background",
    }
)  # fmt: skip
UNPRICED_IN_RESPONSES = frozenset({"background_options", "context_management", "moderation", "prompt"})
IN_TOOL_ONLY = frozenset({"type", "action", "input_image_mask"})
NOT_IN_TOOL = frozenset({"prompt", "stream", "user", "safety_identifier"})
ACTIONS = (None, "auto", "generate", "edit")


def read_response(body: bytes) -> ImageRequest:
    """The body as a request for images, text, or both. Raises `InvalidRequest`."""
    fields = read_fields(body, KNOWN_IN_RESPONSES, UNPRICED_IN_RESPONSES)
    if flag(fields, "background"):
        raise refused(
            "Answers in the background cannot be settled, so they are refused.",
            "background",
            "unsupported_parameter",
        )
    bound_to = _bound_to(fields)
    if fields.get("input") is None and bound_to is None:
        raise refused("'input' is required.", "input", "missing_required_parameter")
    if not isinstance(fields.get("input"), str | list | None):
        raise refused("'input' must be a string or a list.", "input", "invalid_type")
    found = _image_tool(fields)
    drawn = _drawn(*found, fields) if found is not None and _may_draw(fields) else _nothing(fields)
    return replace(
        drawn,
        route="responses",
        model=text(fields, "model", required=True, limit=256),
        stream=flag(fields, "stream"),
        fields=fields,
        text=Text(whole(fields, "max_output_tokens", 1, MAX_TEXT_TOKENS), bound_to),
        known=KNOWN_IN_RESPONSES,
    )


def _image_tool(fields: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
    found = None
    for index, kind, tool in tools_of(fields):
        if kind == IMAGE_TOOL:
            if found is not None:
                raise refused("There can be one image tool only.", f"tools[{index}]", "invalid_value")
            found = index, tool
        elif kind not in OWN_TOOLS:
            raise unmeasured_tool(index)
    return found


def _may_draw(fields: dict[str, Any]) -> bool:
    """Whether the choice of tools leaves the image tool in play."""
    choice = fields.get("tool_choice")
    if choice in (None, "auto", "required"):
        return True
    if choice == "none":
        return False
    kind = kind_of(choice)
    if isinstance(choice, dict) and kind == "allowed_tools":
        allowed = choice.get("tools")
        return not isinstance(allowed, list) or any(kind_of(one) == IMAGE_TOOL for one in allowed)
    if kind not in {IMAGE_TOOL, *OWN_TOOLS}:
        raise refused("'tool_choice' names a tool that cannot be metered.", "tool_choice")
    return kind == IMAGE_TOOL


def _drawn(index: int, tool: dict[str, Any], fields: dict[str, Any]) -> ImageRequest:
    """What the tool draws in one call, by the rules of a request for images."""
    place = f"tools[{index}]"
    for name in tool:
        if name not in (KNOWN - NOT_IN_TOOL) | IN_TOOL_ONLY | UNPRICED:
            raise refused(
                "The image tool has a parameter that this version does not know.",
                f"{place}.{name}" if name.isidentifier() else place,
                "unsupported_parameter",
            )
    if tool.get("action") not in ACTIONS:
        raise refused("'action' must be generate, edit or auto.", f"{place}.action")
    asked = {name: value for name, value in tool.items() if name not in IN_TOOL_ONLY}
    try:
        named = text(asked, "model", limit=256)
        drawn = understood({**asked, "prompt": "-", "model": named or "-"}, "images.generate", UNPRICED)
    except InvalidRequest as error:
        raise replace(error, param=f"{place}.{error.param}" if error.param else place) from None
    shown = pictures_in(fields.get("input")) + (1 if _bound_to(fields) is not None else 0)
    return replace(
        drawn,
        calls=whole(fields, "max_tool_calls", 1, MAX_TOOL_CALLS),
        image_model=named,
        input_images=0 if tool.get("action") == "generate" else shown,
        tool=index,
    )


def _nothing(fields: dict[str, Any]) -> ImageRequest:
    """A request that can draw nothing."""
    whole(fields, "max_tool_calls", 1, MAX_TOOL_CALLS)
    nothing = understood({"prompt": "-", "model": "-"}, "images.generate", UNPRICED)
    return replace(nothing, n=0, calls=0)


def _bound_to(fields: dict[str, Any]) -> str | None:
    """The parameter by which a body refers to what one provider keeps."""
    for name in ("previous_response_id", "conversation"):
        if fields.get(name) is not None:
            return name
    for item in objects_in(fields.get("input")):
        drawn_before = kind_of(item) == DRAWN_BEFORE and not item.get("result")
        if kind_of(item) == "item_reference" or drawn_before:
            return "input"
    return None
