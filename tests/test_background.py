from __future__ import annotations

import asyncio

import pytest

from gateway.background import Background
from gateway.errors import StoreError


async def test_background_work_that_outlives_a_cancellation_is_cancelled_again() -> None:
    background = Background()
    survived = 0

    async def stubborn() -> None:
        nonlocal survived
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if survived:
                    raise
                survived += 1

    background.start("stubborn", stubborn())
    await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await background.stop()

    assert survived == 1


async def test_work_that_ended_by_itself_is_named_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    background = Background()

    async def breaks() -> None:
        raise ValueError("a row that nobody expected")

    background.start("journal", breaks())
    with pytest.raises(ValueError, match="nobody expected"):
        await background.ended("journal")

    with pytest.raises(StoreError, match="background work has ended: journal"):
        await background.check()
    assert "background work journal ended unexpectedly" in caplog.text
