"""Fixtures that every test may use: one real Valkey per test process, empty at the start of each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis import Redis as BlockingRedis

from gateway.store.connection import connect
from gateway.store.sql import open_database
from gateway.store.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from redis.asyncio import Redis

    from gateway.store.sql import Database


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """The server of this test process. No server program on this machine is a failure, not a skip."""
    with EmbeddedValkey.start(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture
def redis_url(valkey: EmbeddedValkey) -> str:
    """The URL of the store, with nothing in it."""
    with BlockingRedis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client for the empty store, as the gateway makes it."""
    client = connect(redis_url, timeout_ms=5000)
    yield client
    await client.aclose()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """An open, empty SQLite file."""
    opened = await open_database(None, tmp_path)
    yield opened
    await opened.close()
