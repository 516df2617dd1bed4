"""The reader of answers for each route: those of conversations, and that of the Images API for all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.conversations.chat_answer import ChatEvents, read_chat_answer
from gateway.conversations.responses_answer import ResponseEvents, read_response_answer
from gateway.conversations.seeing import skeleton
from gateway.images.answer import AnswerScan
from gateway.images.event_stream import StreamScan

if TYPE_CHECKING:
    from gateway.images.request import Route


def answer_scan(route: Route, media_type: str) -> AnswerScan:
    """What reads a whole answer while it passes."""
    if route == "responses":
        return AnswerScan(media_type, read_response_answer, skeleton())
    if route == "chat":
        return AnswerScan(media_type, read_chat_answer, skeleton())
    return AnswerScan(media_type)


def stream_scan(route: Route) -> StreamScan:
    """What reads a stream while it passes."""
    if route == "responses":
        return StreamScan(ResponseEvents())
    return StreamScan(ChatEvents()) if route == "chat" else StreamScan()
