"""Requests cancelled at any step of the event loop (F21): nothing stays held, nothing counts twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

from gateway.demo.standin import StandInSettings
from tests.faults.world import ASK, PLENTY, assert_exact, load, store_running, until
from tests.running import GENERATIONS, gateway_running

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 120


async def test_f21_a_request_cancelled_at_any_step_leaves_nothing_held(tmp_path: Path) -> None:
    """Client and gateway share the event loop, so each step of it is a place in the request's path."""
    chance = random.Random(21)
    zones = {"SE": StandInSettings(zone="SE", seconds_per_image=0.05 * 256)}
    async with (
        store_running(tmp_path / "store") as store,
        gateway_running(tmp_path, store.url, budgets=PLENTY, zones=zones, lease_s=5) as gateway,
    ):
        assert (await load(gateway.admin, per_s=5, seconds=1)).statuses == [200] * 5
        for step in [*range(STEPS), *(chance.randrange(STEPS, 5 * STEPS) for _ in range(60))]:
            asking = asyncio.create_task(gateway.admin.post(GENERATIONS, json=ASK))
            for _ in range(step):
                await asyncio.sleep(0)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking

        images = gateway.standins["SE"]

        async def idle() -> bool:
            return images.standin.in_flight == 0

        await until(idle)
        # One that left between the mark and the first byte is charged: nobody can know.
        await assert_exact(store.redis, tmp_path / "data", [images], unknown=STEPS)
