"""The store is killed, frozen, slow, forgetful, full or absent (F1-F4, F9, F11, F24)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.wire import OrgKeys
from tests.faults.world import (
    ORG,
    PLENTY,
    assert_exact,
    load,
    scripts_forgotten,
    service,
    store_running,
    until,
)
from tests.processes import gateway_process
from tests.running import gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.world import Store
    from tests.running import Gateway


@pytest.fixture
async def gateway(tmp_path: Path, store: Store) -> AsyncIterator[Gateway]:
    async with gateway_running(tmp_path, store.url, budgets=PLENTY, lease_s=5) as running:
        yield running


async def exact(gateway: Gateway, store: Store, tmp_path: Path) -> None:
    await assert_exact(store.redis, tmp_path / "data", list(gateway.standins.values()))


async def grace_ms(store: Store) -> float:
    """Until when nothing is admitted (since 1970): two seconds from when a gateway noticed the server."""
    return float(await store.redis.hget(OrgKeys(ORG).meta, "grace") or 0)


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_f1_a_store_killed_under_load_costs_only_the_time_in_which_it_is_away(tmp_path: Path) -> None:
    """Five times, with 50 requests per second."""
    home = tmp_path / "gateway"
    away: list[tuple[float, float]] = []
    async with store_running(tmp_path / "store") as store, service() as images:
        shared = {"ECOGATE_REDIS_URL": store.url, "ECOGATE_LEASE_S": "5"}
        async with (
            gateway_process(home, {"SE": images.base_url}, budgets=PLENTY, **shared) as gateway,
            gateway.client() as client,
        ):
            client.timeout = 120
            loading = asyncio.create_task(load(client, per_s=50, seconds=30))
            for _ in range(5):
                await asyncio.sleep(2)
                before_ms, killed_ms = await grace_ms(store), time.time() * 1000
                await store.kill()
                await store.back()

                async def noticed(before_ms: float = before_ms) -> bool:
                    return await grace_ms(store) > before_ms

                await until(noticed)
                away.append((killed_ms, await grace_ms(store)))
                await asyncio.sleep(max(0.0, away[-1][1] / 1000 - time.time()))
            tally = await loading
            await assert_exact(store.redis, home / "data", [images])

    refused = [
        (tally.began_ms[one], tally.began_ms[one] + took * 1000)
        for one, took, status in zip(tally.ids, tally.seconds, tally.statuses, strict=True)
        if status == 503
    ]
    assert set(tally.statuses) == {200, 503}
    assert set(tally.codes) == {None, "budget_store_unavailable"}
    outside = [one for one in refused if not any(one[1] >= first and one[0] <= last for first, last in away)]
    assert outside == [], away
    assert len(images.standin.generations) == tally.count(200) > 300


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_f2_nothing_waits_for_a_frozen_store(tmp_path: Path) -> None:
    home = tmp_path / "gateway"
    async with store_running(tmp_path / "store") as store, service() as images:
        shared = {"ECOGATE_REDIS_URL": store.url, "ECOGATE_STORE_TIMEOUT_MS": "250"}
        async with (
            gateway_process(home, {"SE": images.base_url}, budgets=PLENTY, **shared) as gateway,
            gateway.client() as client,
        ):

            async def admits() -> bool:
                return (await load(client, per_s=1, seconds=1)).statuses == [200]

            await until(admits)
            async with store.frozen():
                frozen = await load(client, per_s=10, seconds=5)

            assert set(frozen.statuses) == {503}
            # 250 ms and a busy machine; what queued would have waited for five seconds.
            assert max(frozen.seconds) < 3
            await until(admits)
            await assert_exact(store.redis, home / "data", [images])


async def test_f3_a_slow_store_slows_and_refuses_nothing(tmp_path: Path, store: Store) -> None:
    async with gateway_running(tmp_path, store.url, budgets=PLENTY, store_timeout_ms=10_000) as gateway:
        store.proxy.faults.delay_s = 0.1
        tally = await load(gateway.admin, per_s=10, seconds=4)
        store.proxy.faults.delay_s = 0.0

        assert set(tally.statuses) == {200}
        await exact(gateway, store, tmp_path)


@pytest.mark.long
async def test_f4_dropped_replies_of_scripts_charge_nothing_twice(
    gateway: Gateway, store: Store, tmp_path: Path
) -> None:
    store.proxy.faults.only = b"EVAL"
    store.proxy.faults.drop_replies = 0.05
    tally = await load(gateway.admin, per_s=25, seconds=12)
    store.proxy.faults.drop_replies = 0.0

    assert store.proxy.dropped > 10
    assert set(tally.statuses) <= {200, 503}
    assert tally.count(200) > 100
    await exact(gateway, store, tmp_path)


async def test_f9_a_full_store_refuses_new_work_and_settles_the_old(tmp_path: Path, store: Store) -> None:
    from gateway.demo.standin import StandInSettings

    zones = {"SE": StandInSettings(zone="SE", seconds_per_image=2 * 256)}
    async with gateway_running(tmp_path, store.url, budgets=PLENTY, zones=zones) as gateway:
        under_way = asyncio.create_task(load(gateway.admin, per_s=50, seconds=0.2))
        while len(gateway.generations()) < 10:
            await asyncio.sleep(0.02)
        await store.redis.config_set("maxmemory", "1mb")

        refused = await load(gateway.admin, per_s=20, seconds=0.5)

        assert set((await under_way).statuses) == {200}
        assert set(refused.statuses) == {503}
        await store.redis.config_set("maxmemory", "0")
        await exact(gateway, store, tmp_path)


async def test_f11_scripts_flushed_all_the_time_are_no_error(
    gateway: Gateway, store: Store, tmp_path: Path
) -> None:
    async with scripts_forgotten(store):
        tally = await load(gateway.admin, per_s=8, seconds=5)

    assert set(tally.statuses) == {200}
    await exact(gateway, store, tmp_path)


async def test_f24_a_gateway_that_starts_without_its_store_enforces_when_it_comes(tmp_path: Path) -> None:
    async with store_running(tmp_path / "store") as store:
        store.proxy.faults.refusing = True
        budgets = [PLENTY[0] | {"limits": {"images": 5}}]
        async with gateway_running(tmp_path, store.url, budgets=budgets, store_timeout_ms=10_000) as gateway:
            before = await load(gateway.admin, per_s=20, seconds=0.5)
            assert set(before.statuses) == {503}
            assert (await gateway.admin.get("/readyz")).status_code == 503
            assert gateway.generations() == []

            store.proxy.faults.refusing = False

            async def ready() -> bool:
                return (await gateway.admin.get("/readyz")).status_code == 200

            await until(ready, within_s=15)
            after = await load(gateway.admin, per_s=20, seconds=1)
            assert after.count(200) == 5
            assert set(after.statuses) <= {200, 402, 429}
            await exact(gateway, store, tmp_path)
