"""The store is killed, frozen, slow, forgetful, full or absent (F1-F4, F9, F11, F24)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.world import PLENTY, assert_exact, load, store_running, until
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


@pytest.mark.long
async def test_f1_a_killed_store_costs_only_the_time_in_which_it_is_away(
    gateway: Gateway, store: Store, tmp_path: Path
) -> None:
    loading = asyncio.create_task(load(gateway.admin, per_s=20, seconds=12))
    for _ in range(3):
        await asyncio.sleep(2.5)
        await store.kill()
        await store.back()
    tally = await loading

    assert set(tally.statuses) == {200, 503}
    assert set(tally.codes) == {None, "budget_store_unavailable"}
    assert tally.count(200) >= 20
    await exact(gateway, store, tmp_path)
    assert sum(len(s.standin.generations) for s in gateway.standins.values()) == tally.count(200)


@pytest.mark.long
async def test_f2_nothing_waits_for_a_frozen_store(store: Store, tmp_path: Path) -> None:
    async with gateway_running(tmp_path, store.url, budgets=PLENTY, store_timeout_ms=250) as gateway:

        async def admits() -> bool:
            return (await load(gateway.admin, per_s=1, seconds=1)).statuses == [200]

        await until(admits)
        async with store.frozen():
            frozen = await load(gateway.admin, per_s=10, seconds=4)

        assert set(frozen.statuses) == {503}
        assert max(frozen.seconds) < 3  # 250 ms and a busy machine; what queued would have waited for four
        await until(admits)
        await exact(gateway, store, tmp_path)


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
    async def flush() -> None:
        while True:
            await store.redis.script_flush()
            await asyncio.sleep(0.05)

    flushing = asyncio.create_task(flush())
    tally = await load(gateway.admin, per_s=8, seconds=5)
    flushing.cancel()

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
