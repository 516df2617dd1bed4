"""Gives every request an id and every answer its `x-request-id`, whatever made the answer.

Stands around the whole application, because a framework's own 404 passes no middleware. The id is also the
one of the hold, the record and the trace; it is random, so no restart can repeat it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from litestar.enums import ScopeType

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

STATE_KEY = "request_id"
HEADER = b"x-request-id"


def new_request_id() -> str:
    """128 random bits, as `req_` and 32 hexadecimal digits."""
    return f"req_{secrets.token_hex(16)}"


class RequestIds:
    """The ASGI application that clients meet."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        request_id = new_request_id()
        scope.setdefault("state", {})[STATE_KEY] = request_id

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id.encode())]
            await send(message)

        await self.app(scope, receive, with_id)
