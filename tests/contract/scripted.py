"""An image service that answers exactly the bytes a test wrote, when it says so, on a raw socket.

Understands just enough HTTP to know where a request ends. Keeps what it received, head and body as they came.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

MAX_HEAD = 256 * 1024


@dataclass(slots=True)
class Exchange:
    """One request and the way back to whoever sent it."""

    head: bytes
    body: bytes
    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n")[0].decode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        """As they came, names in lower case."""
        lines = (line.decode("latin-1").partition(":") for line in self.head.split(b"\r\n")[1:] if line)
        return [(name.lower(), value.strip()) for name, _, value in lines]

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    async def write(self, piece: bytes) -> None:
        self.writer.write(piece)
        await self.writer.drain()

    async def answer(self, body: bytes, *, status: str = "200 OK", **headers: str) -> None:
        """A whole answer with its length; `_` in a name stands for `-`."""
        fields = {"content-type": "application/json", "content-length": str(len(body))}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.write(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)

    async def begin_stream(self, **headers: str) -> None:
        """The head of an event stream in chunks."""
        fields = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.write(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode())

    async def chunk(self, piece: bytes) -> None:
        """One chunk; an empty one ends the stream."""
        await self.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def left(self) -> bool:
        """Waits until the other side closes."""
        return not await self.reader.read(1)


Script = "Callable[[Exchange], Awaitable[None]]"


@dataclass(slots=True)
class Scripted:
    """The service; `connections` counts those that were made to it."""

    base_url: str
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0


@contextlib.asynccontextmanager
async def scripted(script: Callable[[Exchange], Awaitable[None]]) -> AsyncIterator[Scripted]:
    """A service whose every answer is what `script` writes; connections are kept."""
    service = Scripted("")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service.connections += 1
        try:
            while True:
                exchange = Exchange(*await _request(reader), writer, reader)
                service.exchanges.append(exchange)
                await script(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=MAX_HEAD)
    service.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield service
    finally:
        server.close()


async def _request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    if b"content-length" in fields:
        return head, await reader.readexactly(int(fields[b"content-length"]))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return head, body
