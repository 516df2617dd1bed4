"""The stand-in's answers on the wire: whole, refused, halved, silent in the middle, or reset.

Every answer names the service as a stand-in. Refuses to know what an answer says.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from gateway.demo.answers import error_answer
from gateway.demo.faults import Fault, FaultName

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SERVER = "ecogate stand-in image service"
ABORT_EXTENSION = "standin.abort"  # scope["extensions"][...]["call"]() resets the connection
REFUSALS: dict[FaultName, tuple[int, str, str | None, str]] = {
    FaultName.RATE_LIMIT: (429, "rate_limit_error", "rate_limit_exceeded", "Too many requests."),
    FaultName.OVERLOAD: (503, "server_error", "overloaded", "The server is overloaded; try again later."),
    FaultName.UNAVAILABLE: (503, "server_error", None, "Service unavailable."),
    FaultName.ERROR: (500, "server_error", None, "The server had an error."),
    FaultName.CONTENT_POLICY: (
        400,
        "invalid_request_error",
        "content_policy_violation",
        "The safety system refused this prompt.",
    ),
    FaultName.REFUSED_KEY: (401, "invalid_request_error", "invalid_api_key", "Incorrect API key."),
}
_WITH_RETRY_AFTER = (FaultName.RATE_LIMIT, FaultName.OVERLOAD)


@dataclass(slots=True)
class Reply:
    """One answer on its way out, for better or worse."""

    scope: Scope
    receive: Receive
    send: Send
    zone: str
    region: str | None = None

    async def json(self, status: int, answer: dict[str, Any], **headers: str) -> None:
        await self.whole(status, json.dumps(answer).encode(), "application/json", **headers)

    async def bad_request(self, message: str, param: str | None) -> None:
        await self.json(400, error_answer(message, error_type="invalid_request_error", param=param))

    async def refusal(self, fault: Fault) -> None:
        status, error_type, code, message = REFUSALS[fault.name]
        answer = error_answer(message, error_type=error_type, code=code)
        if fault.name in _WITH_RETRY_AFTER:
            await self.json(status, answer, retry_after=f"{fault.amount:g}")
        else:
            await self.json(status, answer)

    async def whole(
        self, status: int, body: bytes, media_type: str, *, encoding: str | None = None, **headers: str
    ) -> None:
        if encoding is not None:
            headers["content_encoding"] = encoding
        await self._start(status, len(body), media_type, headers)
        await self.send({"type": "http.response.body", "body": body})

    async def half(self, body: bytes) -> None:
        """Half of the promised bytes, then the connection ends."""
        await self._start(200, len(body), "application/json", {})
        await self.send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await self.reset_later()

    async def with_silence(self, body: bytes, seconds: float) -> None:
        """All of the bytes, with a silence in the middle."""
        await self._start(200, len(body), "application/json", {})
        await self.send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        if not await self.client_leaves_within(seconds):
            await self.send({"type": "http.response.body", "body": body[len(body) // 2 :]})

    async def begin_stream(self) -> None:
        await self._start(200, None, "text/event-stream; charset=utf-8", {})

    async def piece(self, piece: bytes) -> None:
        await self.send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end_stream(self) -> None:
        await self.send({"type": "http.response.body", "body": b""})

    async def reset_later(self) -> None:
        """Reset the connection once what was sent has arrived."""
        await asyncio.sleep(0.05)
        await self.reset()

    async def reset(self) -> None:
        """Reset the connection; needs the server of `serving`."""
        self.scope["extensions"][ABORT_EXTENSION]["call"]()
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def client_leaves_within(self, seconds: float) -> bool:
        """Wait; true as soon as the client is gone."""
        if seconds <= 0:
            return False
        try:
            async with asyncio.timeout(seconds):
                while (await self.receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return False
        return True

    async def _start(self, status: int, length: int | None, media_type: str, headers: dict[str, str]) -> None:
        named = {
            "server": SERVER,
            "x-standin": f"{SERVER}; zone {self.zone}; nothing real is generated",
            "x-request-id": f"standin-{uuid.uuid4().hex}",
            **({"x-ms-region": self.region} if self.region is not None else {}),
            "content-type": media_type,
            **({"content-length": str(length)} if length is not None else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            }
        )
