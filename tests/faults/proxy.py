"""A TCP proxy that commits faults on purpose: delay, stall, drop of replies, cut, reset, slow drip.

It knows bytes and connections. What it does wrong is decided by the fields of `Faults`, which may change at
any time and hold from the next chunk on. It never invents or reorders bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

CHUNK = 64 * 1024
RESET = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN


@dataclass(slots=True)
class Faults:
    """What goes wrong.

    `delay_s` comes before each chunk to the server. `drop_replies` is the chance that the answer to a chunk
    which contains `only` is thrown away and the connection reset. `cut_replies_after` bytes the connection is
    closed. `drip_s` is slept between pieces of `drip_bytes` of an answer. `refusing` closes new connections.
    """

    delay_s: float = 0.0
    drop_replies: float = 0.0
    only: bytes = b""
    cut_replies_after: int | None = None
    drip_s: float = 0.0
    drip_bytes: int = 16
    refusing: bool = False


@dataclass(slots=True)
class FaultProxy:
    """Listens on a free loopback port, in TLS where it is given `tls`, and forwards to a TCP port or a unix
    socket.

    `dropped` counts replies that were thrown away, `most_open` is the largest number of connections at once.
    """

    target: tuple[str, int] | str
    faults: Faults = field(default_factory=Faults)
    seed: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None
    dropped: int = 0
    accepted: int = 0
    _random: random.Random = field(init=False)
    _flows: asyncio.Event = field(init=False)
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._flows = asyncio.Event()
        self._flows.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accepted, "127.0.0.1", self.port, backlog=512, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    def stall(self) -> None:
        """Nothing moves any more, in either direction, until `flow`."""
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def reset_all(self) -> None:
        """Every open connection is reset."""
        for writer in list(self._writers):
            _reset(writer)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.accepted += 1
        try:
            if not self.faults.refusing:
                await self._exchange(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            _reset(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self.target, str):
            server_reader, server_writer = await asyncio.open_unix_connection(self.target)
        else:
            server_reader, server_writer = await asyncio.open_connection(*self.target)
        both = {writer, server_writer}
        self._writers |= both
        marked = asyncio.Event()
        pipes = [
            asyncio.create_task(self._ask(reader, server_writer, marked)),
            asyncio.create_task(self._answer(server_reader, writer, marked)),
        ]
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers -= both
            server_writer.close()  # first, because the wait below may be cancelled
            for pipe in pipes:
                pipe.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, marked: asyncio.Event
    ) -> None:
        while chunk := await reader.read(CHUNK):
            if self.faults.delay_s:
                await asyncio.sleep(self.faults.delay_s)
            await self._flows.wait()
            if self.faults.only in chunk:
                marked.set()
            writer.write(chunk)
            await writer.drain()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, marked: asyncio.Event
    ) -> None:
        sent = 0
        while chunk := await reader.read(CHUNK):
            await self._flows.wait()
            if marked.is_set() and self._random.random() < self.faults.drop_replies:
                self.dropped += 1
                return
            marked.clear()
            limit = self.faults.cut_replies_after
            if limit is not None and sent + len(chunk) >= limit:
                writer.write(chunk[: limit - sent])
                await writer.drain()
                return
            sent += len(chunk)
            await self._deliver(chunk, writer)

    async def _deliver(self, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        step = self.faults.drip_bytes if self.faults.drip_s else len(chunk)
        for first in range(0, len(chunk), step):
            writer.write(chunk[first : first + step])
            await writer.drain()
            if self.faults.drip_s:
                await asyncio.sleep(self.faults.drip_s)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        sock = writer.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
