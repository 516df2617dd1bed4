"""Bursts: a thousand at once with room for six hundred (L2), a key that is refused all the time (L4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.world import ASK, PLENTY, assert_exact, service, store_running
from tests.processes import gateway_process
from tests.running import ADMIN_KEY, GENERATIONS, budget
from tests.soak.rows import memory_mb

if TYPE_CHECKING:
    from pathlib import Path

ROOM = 600


@pytest.mark.long
async def test_l2_of_a_thousand_at_once_exactly_as_many_are_admitted_as_have_room(tmp_path: Path) -> None:
    budgets = [PLENTY[0] | {"limits": {"images": ROOM}}]
    async with store_running(tmp_path / "store") as store, service(seconds_per_image=5.0) as images:
        home = tmp_path / "gateway"
        async with (
            gateway_process(
                home, {"SE": images.base_url}, budgets=budgets, ECOGATE_REDIS_URL=store.url
            ) as gateway,
            gateway.client() as client,
        ):
            client.timeout = 120
            asked = await asyncio.gather(*(client.post(GENERATIONS, json=ASK) for _ in range(1000)))
            statuses = [answer.status_code for answer in asked]

            assert statuses.count(200) == ROOM == len(images.standin.generations)
            assert {status for status in statuses if status != 200} <= {402, 429}
            assert memory_mb(gateway.process.pid, most=True) <= 250
            await assert_exact(store.redis, home / "data", [images])


DENIED, AT_ONCE = 10_000, 40


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_l4_ten_thousand_refusals_of_one_key_are_in_nobodys_way(tmp_path: Path) -> None:
    """As fast as the machine answers; what the others then wait is measured by `python -m tests.soak l4`."""
    budgets = [budget("poor", match={"team": ["poor"]}, limits={"images": 0}), *PLENTY]
    async with store_running(tmp_path / "store") as store, service() as images:
        home = tmp_path / "gateway"
        async with (
            gateway_process(
                home, {"SE": images.base_url}, budgets=budgets, ECOGATE_REDIS_URL=store.url
            ) as gateway,
            gateway.client(ADMIN_KEY) as admin,
        ):
            made = await admin.post(
                "/eco/v1/keys", json={"org": "default", "team": "poor", "user": "p", "role": "member"}
            )
            async with gateway.client(made.json()["key"]) as poor:

                async def refused() -> list[int]:
                    asking = range(DENIED // AT_ONCE)
                    return [(await poor.post(GENERATIONS, json=ASK)).status_code for _ in asking]

                flood = asyncio.gather(*(refused() for _ in range(AT_ONCE)))
                steady = []
                while not flood.done():
                    steady.append((await admin.post(GENERATIONS, json=ASK)).status_code)
                    await asyncio.sleep(0.2)
                told = [status for each in await flood for status in each]

            assert told == [402] * DENIED
            assert set(steady) == {200}
            assert len(images.standin.generations) == len(steady)
            await assert_exact(store.redis, home / "data", [images])
