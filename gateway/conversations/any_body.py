"""A body of any JSON route, told by its members: a dry run has no path to tell it by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.conversations.asking import MAX_MEMBERS
from gateway.conversations.chat import read_chat
from gateway.conversations.responses import read_response
from gateway.images.edits import read_edit
from gateway.images.request import read_generation
from gateway.images.strict_json import read_object

if TYPE_CHECKING:
    from gateway.images.request import ImageRequest

OF_EDITS = ("image", "images")
OF_RESPONSES = ("input", "previous_response_id", "conversation")


def read_any(body: bytes) -> ImageRequest:
    """The body as a chat with `messages`, a response with `input`, an edit with `images`, else a generation.

    Raises `InvalidRequest`.
    """
    fields = read_object(body, max_members=MAX_MEMBERS)
    if "messages" in fields:
        return read_chat(body)
    if any(name in fields for name in OF_RESPONSES):
        return read_response(body)
    if any(name in fields for name in OF_EDITS):
        return read_edit(body)
    return read_generation(body)
