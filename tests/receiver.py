"""Somebody's webhook receiver, on a real socket: keeps what it is sent and answers as it is told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

KEY = b"a key of twenty-four bytes or more"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@dataclass(slots=True)
class Message:
    """One attempt to deliver something."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.body)["data"]
        return data

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def is_signed(self) -> bool:
        """As the receiver's side of Standard Webhooks checks it."""
        text = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = base64.b64encode(hmac.new(KEY, text, hashlib.sha256).digest()).decode()
        return self.headers["webhook-signature"] == f"v1,{expected}"


@dataclass(slots=True)
class Receiver:
    """`answers` are statuses for the next messages, then 204; None hangs up. `url` ends in a secret path."""

    url: str = ""
    messages: list[Message] = field(default_factory=list)
    answers: list[int | None] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0

    async def until(self, count: int) -> list[Message]:
        """The messages, as soon as there are that many."""
        async with asyncio.timeout(60):
            while len(self.messages) < count:
                await asyncio.sleep(0.02)
        return self.messages

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.messages.append(Message(headers, await request.read()))
        status = self.answers.pop(0) if self.answers else 204
        await asyncio.sleep(self.delay_s)
        if status is None:
            assert request.transport is not None
            request.transport.abort()
            status = 500
        return web.Response(status=status, headers=self.headers)


@contextlib.asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/secret-path?token=secret-query"
    try:
        yield receiver
    finally:
        await runner.cleanup()
