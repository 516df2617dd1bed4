"""Bursts: a thousand at once with room for six hundred (L2), a key that is refused all the time (L4)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.world import ASK, PLENTY, assert_exact, load, service, store_running
from tests.processes import gateway_process
from tests.running import ADMIN_KEY, GENERATIONS, budget

ROOM = 600


def most_mb(pid: int) -> float:
    """The largest resident size of a process so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


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
            assert most_mb(gateway.process.pid) <= 250
            await assert_exact(store.redis, home / "data", [images])


@pytest.mark.long
async def test_l4_a_key_that_is_refused_all_the_time_is_in_nobodys_way(tmp_path: Path) -> None:
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
                refused = asyncio.create_task(load(poor, per_s=30, seconds=6))
                steady = await load(admin, per_s=5, seconds=6)
                told = await refused

            assert set(steady.statuses) == {200}
            assert set(told.statuses) == {402}
            assert len(images.standin.generations) == 30
            await assert_exact(store.redis, home / "data", [images])
