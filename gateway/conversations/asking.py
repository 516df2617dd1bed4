"""What the bodies of conversations have in common: messages, tools, and how much text may come back.

A conversation holds whatever people and tools wrote, so only its frame is read strictly: names, tools and
bounds. Work that nobody could measure afterwards is refused: other hosted tools, stored prompts, answers that
come later. Refuses to know deployments and prices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.images.edits import MAX_INPUT_IMAGES
from gateway.images.request import (
    ROUTE_TAKING,
    UNPRICED,
    refuse_look_alikes,
    refuse_unpriced,
)
from gateway.images.strict_json import read_object
from gateway.images.values import refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.errors import InvalidRequest

MAX_MEMBERS = 50_000
MAX_TEXT_TOKENS = 1_000_000
OWN_TOOLS = frozenset({"function", "custom"})
"""Tools that the client runs itself."""
PICTURE_TYPES = frozenset({"input_image", "image_url", "image_generation_call"})


def read_fields(body: bytes, known: frozenset[str], unpriced: frozenset[str]) -> dict[str, Any]:
    """The members of a body, each under a name with one meaning. Raises `InvalidRequest`."""
    fields = read_object(body, max_members=MAX_MEMBERS)
    refuse_look_alikes(fields, known | unpriced | UNPRICED | ROUTE_TAKING)
    for name in fields:
        if name in ROUTE_TAKING:
            raise refused("A request cannot choose where it is sent.", name, "unsupported_parameter")
    refuse_unpriced(fields, (UNPRICED - known) | unpriced)
    return fields


def tools_of(fields: dict[str, Any]) -> list[tuple[int, str, dict[str, Any]]]:
    """The tools with their places and types."""
    tools = fields.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise refused("'tools' must be a list.", "tools", "invalid_type")
    found = []
    for index, tool in enumerate(tools):
        kind = kind_of(tool)
        if kind is None:
            raise refused("A tool must be an object with a 'type'.", f"tools[{index}]", "invalid_type")
        refuse_look_alikes(tool, frozenset({"type"}))
        found.append((index, kind, tool))
    return found


def unmeasured_tool(index: int) -> InvalidRequest:
    """The refusal of a tool that somebody else runs, at a cost that no answer tells."""
    return refused(
        "Only 'image_generation' and the client's own tools ('function', 'custom') can be metered here.",
        f"tools[{index}].type",
        "unsupported_value",
    )


def kind_of(value: object) -> str | None:
    """The type that an object says it has."""
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


def objects_in(value: object) -> Iterator[dict[str, Any]]:
    """Every object at any depth; the reader has bounded that."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(item)


def pictures_in(value: object) -> int:
    """The pictures that a conversation shows, as far as one edit can take them."""
    shown = sum(1 for one in objects_in(value) if kind_of(one) in PICTURE_TYPES)
    return min(shown, MAX_INPUT_IMAGES)
