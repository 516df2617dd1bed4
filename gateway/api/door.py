"""The outermost door: every request gets an id, and one whose framing is doubtful gets no further.

Stands around the whole application, because a framework's own 404 passes no middleware. The id is that of the
hold, the record and the answer's `x-request-id`; it is random, so no restart can repeat it. Requests with the
same credential pass one after the other, whatever it is worth: each has to be read before the next one.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec
from litestar.enums import ScopeType

from gateway.api.auth import CREDENTIAL_HEADERS
from gateway.errors import InvalidRequest
from gateway.lifecycle.lanes import Lanes

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

STATE_KEY = "request_id"
PLACE_KEY = "place"
HEADER = b"x-request-id"
MAX_HEADER_FIELDS = 100
MAX_HEADER_BYTES = 32 * 1024


def new_request_id() -> str:
    """128 random bits, as `req_` and 32 hexadecimal digits."""
    return f"req_{secrets.token_hex(16)}"


class Door:
    """The ASGI application that clients meet."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.lanes = Lanes()

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

        refused = doubtful(scope)
        if refused is not None:
            await _answer(refused, with_id)
            return
        # The server sends no body to HEAD; everything else about the answer is that of GET.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        credential = next(
            (value for name, value in scope["headers"] if name.lower() in CREDENTIAL_HEADERS), None
        )
        if credential is None:
            await self.app({**scope, "method": method}, receive, with_id)
            return
        place = scope["state"][PLACE_KEY] = self.lanes.place(credential)
        try:
            await place.take()
            await self.app({**scope, "method": method}, receive, with_id)
        finally:
            place.leave()


def doubtful(scope: HTTPScope) -> InvalidRequest | None:
    """Why this request is not read further: two readers could see two requests in it, or it is huge."""
    names = [name.lower() for name, _ in scope["headers"]]
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if len(names) > MAX_HEADER_FIELDS or size > MAX_HEADER_BYTES:
        return InvalidRequest("The request's headers are too large.", code="headers_too_large", status=431)
    hosts = names.count(b"host")
    # A newer version of HTTP names the host outside the headers.
    if hosts > 1 or (hosts == 0 and scope["http_version"] == "1.1") or names.count(b"content-length") > 1:
        return InvalidRequest("The request's headers contradict each other.", code="ambiguous_headers")
    if b"content-length" in names and b"transfer-encoding" in names:
        return InvalidRequest("The request's headers contradict each other.", code="ambiguous_headers")
    return None


async def _answer(error: InvalidRequest, send: Send) -> None:
    """An error without the framework; the connection closes, because the body was not read."""
    body = msgspec.json.encode(error.body())
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
