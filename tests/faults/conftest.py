"""What the fault tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.world import store_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.world import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store of this test's own, which it may freeze and kill."""
    async with store_running(tmp_path / "store") as running:
        yield running
