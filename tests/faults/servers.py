"""Single servers of the budget store on loopback ports: to be stopped, their files cut, their time bent.

The same program as the embedded store, without its supervisor: nothing starts them again but the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.store.connection import connect
from gateway.store.server import find_server
from tests.faults.world import until
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from redis.asyncio import Redis

SERVICE = "budgets"  # what Sentinels call the primary
FAKETIME = "*/faketime/libfaketimeMT.so.1"  # below /usr/lib, in a folder for each kind of machine


def bent(**how: str) -> dict[str, str]:
    """The environment of a program that sees another wall clock; `how` are libfaketime's own variables.

    Its monotonic clock stays true, or every timeout would be wrong as well.
    """
    library = next(Path("/usr/lib").glob(FAKETIME), None)
    assert library is not None, "libfaketime is needed: apt install faketime"
    return {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1", **how}


@dataclass
class Server:
    """A server that answers at `url`, with its files in `directory`."""

    directory: Path
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        return connect(self.url, timeout_ms=5000)

    async def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory.parent / f"{self.directory.name}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.inside,
                str(find_server()),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)),
                *("--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"),
                *self.options,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        client = self.client()
        try:
            await until(lambda: answers(client))
        finally:
            await client.aclose()

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        await self.process.wait()


@contextlib.asynccontextmanager
async def server_running(
    directory: Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    tmpfs_mb: int | None = None,
) -> AsyncIterator[Server]:
    """With `tmpfs_mb` its directory is a file system of that size, which it alone sees."""
    server = Server(directory, options, environment or {})
    if tmpfs_mb is not None:
        mount = f'mount -t tmpfs -o size={tmpfs_mb}m none "$0" && exec "$@"'
        server.inside = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, str(directory))
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


@contextlib.asynccontextmanager
async def sentinels_of(
    primary: Server, home: Path, count: int = 3
) -> AsyncIterator[dict[int, asyncio.subprocess.Process]]:
    """Sentinels by port that watch a primary and need two voices."""
    processes: dict[int, asyncio.subprocess.Process] = {}
    try:
        for port in (free_port() for _ in range(count)):
            file = home / f"sentinel-{port}.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {home}\n"
                f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 2\n"
                f"sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 5000\n"
            )
            with file.with_suffix(".log").open("wb") as log:
                processes[port] = await asyncio.create_subprocess_exec(
                    str(find_server()), str(file), "--sentinel", stdout=log, stderr=log
                )
        yield processes
    finally:
        for process in processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@contextlib.contextmanager
def filled(server: Server) -> Iterator[None]:
    """The server's file system without a free byte, for the time of the block."""
    assert server.process is not None
    filler = Path(f"/proc/{server.process.pid}/root{server.directory}/filler")
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (65536, 1024, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size):
                    pass
    try:
        yield
    finally:
        filler.unlink()


async def answers(client: Redis) -> bool:
    with contextlib.suppress(Exception):
        return bool(await client.ping())
    return False
