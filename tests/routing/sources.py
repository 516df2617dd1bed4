"""A grid source on a real local socket, answering what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SAMPLES = Path(__file__).parent / "samples"


@dataclass
class Source:
    """Answers by path; an unknown path is 404. `asked` holds every request."""

    answers: dict[str, tuple[int, bytes, dict[str, str]]] = field(default_factory=dict)
    asked: list[web.Request] = field(default_factory=list)
    delay_s: float = 0.0
    url: str = ""

    def says(self, path: str, body: str | bytes, status: int = 200, **headers: str) -> None:
        raw = body.encode() if isinstance(body, str) else body
        self.answers[path] = (status, raw, {name.replace("_", "-"): text for name, text in headers.items()})

    def plays(self, path: str, sample: str) -> None:
        self.says(path, (SAMPLES / sample).read_bytes())

    async def _handle(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        await asyncio.sleep(self.delay_s)
        for path, (status, body, headers) in self.answers.items():
            if request.path.startswith(path):
                return web.Response(status=status, body=body, headers=headers)
        return web.Response(status=404, text="nothing here")


@contextlib.asynccontextmanager
async def source_running() -> AsyncIterator[Source]:
    """A source that listens until the end of the block."""
    source = Source()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", source._handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    source.url = f"http://{host}:{port}"
    try:
        yield source
    finally:
        await runner.cleanup()
