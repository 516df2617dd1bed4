"""Serves a stand-in on a loopback socket from within the running event loop.

Knows uvicorn, and one thing uvicorn does not offer: resetting a connection from inside an app. Refuses to
handle signals, which belong to whoever runs the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.demo.reply import ABORT_EXTENSION
from gateway.demo.standin import StandIn, StandInSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

_LINGER_NONE = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN


@dataclass(frozen=True, slots=True)
class Running:
    """A stand-in that answers at `base_url`, which ends in `/v1`."""

    standin: StandIn
    port: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


class _Server(uvicorn.Server):
    """Starts and stops by events: no signal handlers, no polling."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready, self.stop = asyncio.Event(), asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def main_loop(self) -> None:
        self.ready.set()
        await self.stop.wait()


class _ResettableProtocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT_EXTENSION: {"call": self._reset}}

    def _reset(self) -> None:
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self.transport.abort()


@contextlib.asynccontextmanager
async def serving(settings: StandInSettings, *, port: int = 0) -> AsyncIterator[Running]:
    """A stand-in for the time of the block, on a free port unless one is given.

    Raises OSError when the port is taken.
    """
    standin = StandIn(settings)
    config = uvicorn.Config(
        standin,
        http=_ResettableProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    with socket.create_server(("127.0.0.1", port), backlog=512) as listener:
        # Accepted sockets inherit it. asyncio sets it only on sockets that name their protocol, unlike these,
        # and an answer in two pieces would wait 40 ms for the client to acknowledge the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serve = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await server.ready.wait()
            yield Running(standin, listener.getsockname()[1])
        finally:
            server.stop.set()
            await serve
