from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.eco_side import EcoSide, open_eco_side
from tests.store.databases import database, database_url, postgres, sqlite_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis.asyncio import Redis

    from gateway.store.sql import Database

__all__ = ["database", "database_url", "postgres", "sqlite_database"]


@pytest.fixture
async def eco(redis: Redis, sqlite_database: Database, tmp_path: Path) -> AsyncIterator[EcoSide]:
    """The eco side on SQLite."""
    (tmp_path / "policies").mkdir()
    side = await open_eco_side(redis, sqlite_database, tmp_path / "policies")
    yield side
    await side.http.aclose()
