"""A request with some of its fields changed to ask for less work.

Pure. The body that is forwarded changes with the meaning, under the names that the client used, so that what
is priced is what is sent. Refuses to know what is lighter, and who allowed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.images.nested import inside, may_hold_block
from gateway.images.request import read_size
from gateway.images.shapes import SHAPE_NAMES
from gateway.images.values import STEP_NAMES

if TYPE_CHECKING:
    from gateway.images.request import ImageRequest

Change: TypeAlias = Mapping[str, str | int]
"""New values of `quality`, `size`, `steps`, `n` or `model`, or of `max_tool_calls` in a response."""
OF_IMAGES = frozenset({"model", "n", "size", "quality", "steps"})
OUTSIDE_THE_TOOL = frozenset({"model", "max_tool_calls"})


def changes(request: ImageRequest, change: Change) -> bool:
    """Whether a request can say such a change.

    Text has no quality, classes of sizes are named by chats and some others, and steps inside another
    parameter stay as they are.
    """
    if not request.draws:
        return change.keys() <= {"model"}
    if request.route == "chat":
        return change.keys() <= {"model", "n"}
    if request.tool is not None:
        return change.keys() <= OF_IMAGES | OUTSIDE_THE_TOOL
    nested = not inside(request.fields).keys().isdisjoint(STEP_NAMES) or may_hold_block(request.fields)
    fixed = {"steps"} if nested else set()
    if any(request.fields.get(name) is not None for name in SHAPE_NAMES):
        fixed.add("size")
    return change.keys() <= OF_IMAGES - fixed


def changed(request: ImageRequest, change: Change) -> ImageRequest:
    """The request with these values. Steps change only where the client gave some: their names differ.

    In a response the image tool says what is drawn.
    """
    if request.tool is None:
        return _changed(request, change, dict(request.fields))
    said = {name: value for name, value in change.items() if name not in OUTSIDE_THE_TOOL}
    tools = list(request.fields["tools"])
    inside = _changed(request, said, dict(tools[request.tool]))
    tools[request.tool] = inside.fields
    outside = {name: value for name, value in change.items() if name in OUTSIDE_THE_TOOL}
    return _changed(inside, outside, {**request.fields, "tools": tools})


def _changed(request: ImageRequest, change: Change, fields: dict[str, Any]) -> ImageRequest:
    known: dict[str, Any] = {}
    for name, value in change.items():
        if name == "size":
            width, height = read_size(str(value)) or (None, None)
            known |= {"width": width, "height": height}
            if fields.get("width") is not None:
                fields |= {"width": width, "height": height}
            if fields.get("width") is None or fields.get("size") is not None:
                fields["size"] = value
        elif name == "max_tool_calls":
            fields[name] = known["calls"] = value
        elif name == "steps":
            given = [step for step in STEP_NAMES if fields.get(step) is not None]
            fields |= dict.fromkeys(given, value)
            known |= {"steps": value} if given else {}
        else:
            fields[name] = known[name] = value
    return replace(request, fields=fields, **known)


def differences(asked: ImageRequest, got: ImageRequest) -> dict[str, dict[str, Any]]:
    """What differs, as `{"quality": {"asked": "high", "got": "low"}}`; null is what the client left open."""
    names = ("model", "quality", "size", "steps", "n")
    return {
        name: {"asked": getattr(asked, name), "got": getattr(got, name)}
        for name in names
        if getattr(asked, name) != getattr(got, name)
    }
