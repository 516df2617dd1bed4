"""Capacity that gateways share while gateways and the store fail (F25 to F27)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

import pytest

from gateway.demo.serving import serving
from gateway.demo.standin import StandInSettings
from gateway.routing.leases import LEASE_S, PREFIX
from tests.faults.world import PLENTY, ask, assert_exact, load, scripts_forgotten, until
from tests.processes import gateway_process
from tests.running import gateway_running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.world import Store

CAPACITY: dict[str, Any] = {"capacity": {"concurrency": 3}}


async def none_left(store: Store, *deployments: str) -> bool:
    return not any([await store.redis.zcard(f"{PREFIX}:leases:{one}") for one in deployments])


@pytest.mark.long
async def test_f25_slots_of_a_killed_gateway_are_free_again_when_their_leases_lapse(
    tmp_path: Path, store: Store
) -> None:
    settings = {"ECOGATE_REDIS_URL": store.url, "ECOGATE_LEASE_S": "5"}
    async with contextlib.AsyncExitStack() as stack:
        images = await stack.enter_async_context(serving(StandInSettings(zone="SE", capacity=2, stall_s=5)))
        first, second = [
            await stack.enter_async_context(
                gateway_process(
                    tmp_path / name,
                    {"SE": images.base_url},
                    budgets=PLENTY,
                    concurrency="2",
                    ECOGATE_KEY_PEPPER="p" * 40,
                    **settings,
                )
            )
            for name in ("first", "second")
        ]
        asking = [asyncio.create_task(ask(first)) for _ in range(2)]

        async def both_work() -> bool:
            return images.standin.in_flight == 2

        await until(both_work)
        first.send(signal.SIGKILL)
        await first.ended()
        assert await asyncio.gather(*asking) == [None, None]
        assert await ask(second) == 503

        async def lapsed() -> bool:
            return await ask(second) == 200

        await until(lapsed, within_s=LEASE_S + 30)
        assert images.standin.most_in_flight == 2
        assert images.standin.turned_away == 0


async def test_f26_a_frozen_store_leaves_no_slot_taken_and_passes_no_capacity(
    tmp_path: Path, store: Store
) -> None:
    zones = {"SE": StandInSettings(zone="SE", capacity=3, stall_s=0.1)}
    async with gateway_running(
        tmp_path,
        store.url,
        budgets=PLENTY,
        zones=zones,
        deployment=CAPACITY,
        store_timeout_ms=250,
        lease_s=5,
        routing={"queue_s": 5},
    ) as gateway:

        async def admits() -> bool:
            return (await load(gateway.admin, per_s=1, seconds=1)).statuses == [200]

        await until(admits)
        loading = asyncio.create_task(load(gateway.admin, per_s=10, seconds=4))
        await asyncio.sleep(1)
        async with store.frozen():
            await asyncio.sleep(1.5)
        tally = await loading

        assert set(tally.statuses) <= {200, 503}
        assert tally.count(200) > 0
        await until(admits)
        images = gateway.standins["SE"]
        assert images.standin.most_in_flight <= 3
        assert images.standin.turned_away == 0
        await until(lambda: none_left(store, "flux-se"), within_s=LEASE_S + 10)
        await assert_exact(store.redis, tmp_path / "data", [images])


async def test_f27_scripts_flushed_all_the_time_pass_no_capacity(tmp_path: Path, store: Store) -> None:
    zones = {"SE": StandInSettings(zone="SE", capacity=3, stall_s=0.1)}

    async with gateway_running(
        tmp_path, store.url, budgets=PLENTY, zones=zones, deployment=CAPACITY, routing={"queue_s": 30}
    ) as gateway:
        async with scripts_forgotten(store):
            tally = await load(gateway.admin, per_s=15, seconds=3)

        assert set(tally.statuses) == {200}
        images = gateway.standins["SE"]
        assert images.standin.most_in_flight <= 3
        assert images.standin.turned_away == 0
        await until(lambda: none_left(store, "flux-se"))
        await assert_exact(store.redis, tmp_path / "data", [images])
