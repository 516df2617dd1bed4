"""A client's connection as uvicorn serves it, with what uvicorn lacks: a head has a deadline and a size.

A server hands nothing to an application before a head is complete, so only here can one that never ends be
ended. Refuses to know routes: what it answers is the error that every route would give.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.api.door import MAX_HEADER_BYTES, new_request_id
from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

HEAD_DEADLINE_S = 10.0
LINGER_S = 2.0
MAX_HEAD_BYTES = 2 * MAX_HEADER_BYTES
"""Of a head that is not complete; the door looks at complete ones."""
MALFORMED = InvalidRequest("This is not an HTTP request.", code="invalid_request")
TOO_SLOW = InvalidRequest("The request's head did not arrive in time.", code="request_timeout", status=408)
TOO_LARGE = InvalidRequest("The request's headers are too large.", code="headers_too_large", status=431)
PHRASES: dict[int, str] = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class _WithoutChunks(RequestResponseCycle):
    """An answer in HTTP/1.0, which knows no chunks: without a length it lasts until its connection closes."""

    _until_close = False

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            self._until_close = b"content-length" not in names
            self.chunked_encoding = False if self._until_close else None
        elif message["type"] == "http.response.body" and self._until_close:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class Connection(HttpToolsProtocol):
    """One connection; every request on it has a deadline and a size for its head."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_begins(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_ends()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as offer:
            self._without_offer(data[offer.args[0] :])
            return
        except HttpParserError:
            self._malformed()
            return
        if self._deadline is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_begins(HEAD_DEADLINE_S)

    def on_headers_complete(self) -> None:
        self._head_ends()
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            if self.parser.get_http_version() == "1.0":
                self.cycle.__class__ = _WithoutChunks

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _without_offer(self, rest: bytes) -> None:
        """The same request without its offer of another protocol, as some clients make with every request.

        The parser takes what follows such a head for the other protocol, and would lose the body.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        headers = [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        if len(headers) == len(self.headers):
            self._malformed()
            return
        self.parser = HttpRequestParser(self)
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(headers))
        self.data_received(head + rest)

    def _malformed(self) -> None:
        """What cannot be parsed, anywhere in a request. Once an answer has begun there is none to give."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.close()
        else:
            self._refuse(MALFORMED)

    def _head_begins(self, within_s: float) -> None:
        self._head_ends()
        self._head_bytes = 0
        self._deadline = self.loop.call_later(within_s, self._too_slow)

    def _head_ends(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        """A connection on which nothing was asked is only closed."""
        if self._head_bytes:
            self._refuse(TOO_SLOW)
        else:
            self.transport.close()

    def _refuse(self, error: InvalidRequest) -> None:
        body = msgspec.json.encode(error.body())
        head = (
            f"HTTP/1.1 {error.status} {PHRASES[error.status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {new_request_id()}\r\nconnection: close\r\n\r\n"
        )
        self._refused = True
        self._head_ends()
        self.transport.write(head.encode() + body)
        # With bytes of theirs unread, closing at once would be a reset, and the answer might not arrive.
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)
