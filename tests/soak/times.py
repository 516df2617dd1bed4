"""How long the faults of the store last for a client: the times that the fault plan sets.

That nothing is lost meanwhile is what `tests/faults` proves at loads and times that a busy machine can keep.
"""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from gateway.demo.standin import StandInSettings
from gateway.store.connection import connect
from gateway.store.keyspace import journal_key
from gateway.store.sql import open_database
from gateway.usage.archive import Archive
from tests.faults.cluster import cluster_running, cluster_url, move_slot
from tests.faults.servers import filled, server_running
from tests.faults.world import ORG, PLENTY, assert_exact, load, quiet, service, store_running, until
from tests.processes import gateway_process
from tests.running import budget, gateway_running
from tests.soak.rows import Row, at_most, holds, percentiles_ms
from tests.usage.journals import fields, record

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    from redis.asyncio import Redis

FROZEN_S = 5
ENTRIES, BATCH, USERS = 100_000, 1_000, 2_000
MOVED_AFTER_S = 20
POLL_S = 0.02


async def first_200(client: httpx.AsyncClient) -> float:
    """Seconds until the gateway admits again, asked ten times a second."""
    began = time.monotonic()
    async with asyncio.timeout(60):
        while set((await load(client, per_s=10, seconds=0.1)).statuses) != {200}:
            pass
    return time.monotonic() - began


async def f2(home: Path) -> list[Row]:
    """The store stands still for five seconds under 50 requests per second; a deadline of 250 ms."""
    async with store_running(home / "store") as store, service() as images:
        shared = {"ECOGATE_REDIS_URL": store.url, "ECOGATE_STORE_TIMEOUT_MS": "250"}
        async with (
            gateway_process(home / "gateway", {"SE": images.base_url}, budgets=PLENTY, **shared) as gateway,
            gateway.client() as client,
        ):
            await load(client, per_s=50, seconds=5)
            async with store.frozen():
                frozen = await load(client, per_s=50, seconds=FROZEN_S)
            again_s = await first_200(client)
            await assert_exact(store.redis, home / "gateway" / "data", [images])
    return [
        holds("F2 every answer of a store that stands still is 503", true=set(frozen.statuses) == {503}),
        at_most("F2 longest wait for it", max(frozen.seconds), 1, "s"),
        at_most("F2 from its return to the next image", again_s, 3, "s"),
    ]


async def f3(home: Path) -> list[Row]:
    """Every call to the store takes 100 ms longer, with the default deadline of 250 ms."""
    async with store_running(home / "store") as store, service() as images:
        shared = {"ECOGATE_REDIS_URL": store.url, "ECOGATE_STORE_TIMEOUT_MS": "250"}
        async with (
            gateway_process(home / "gateway", {"SE": images.base_url}, budgets=PLENTY, **shared) as gateway,
            gateway.client() as client,
        ):
            quick = await load(client, per_s=20, seconds=10)
            store.proxy.faults.delay_s = 0.1
            slow = await load(client, per_s=20, seconds=10)
            store.proxy.faults.delay_s = 0.0
            await assert_exact(store.redis, home / "gateway" / "data", [images])
    added_ms = percentiles_ms(slow.seconds)[1] - percentiles_ms(quick.seconds)[1]
    return [
        holds("F3 every answer with a slow store is 200", true=set(slow.statuses) == {200}),
        at_most("F3 time added, 99 of 100", added_ms, 500, "ms"),
    ]


async def f8(home: Path) -> list[Row]:
    """The disk of the store is full while 20 requests are in flight; then there is space again."""
    zones = {"SE": StandInSettings(zone="SE", seconds_per_image=1.5 * 256)}
    async with (
        server_running(home / "store", tmpfs_mb=2) as server,
        server.client() as redis,
        gateway_running(home, server.url, budgets=PLENTY, zones=zones, lease_s=60) as gateway,
    ):
        under_way = asyncio.create_task(load(gateway.admin, per_s=40, seconds=0.5))
        while len(gateway.generations()) < 20:
            await asyncio.sleep(POLL_S)
        with filled(server):
            served = await under_way
            refused = await load(gateway.admin, per_s=10, seconds=1)
        began = time.monotonic()
        database = await open_database(None, home / "data")
        try:
            await quiet(redis, database)
        finally:
            await database.close()
        posted_s = time.monotonic() - began
        await assert_exact(redis, home / "data", list(gateway.standins.values()))
    return [
        holds("F8 what was in flight is answered", true=set(served.statuses) == {200}),
        holds("F8 new work is 503", true=set(refused.statuses) == {503}),
        at_most("F8 from the return of space to the last settlement", posted_s, 5, "s"),
    ]


async def f10(home: Path) -> list[Row]:
    """FLUSHALL where SQL has 100,000 journal entries of 2,000 users, each of them with a budget."""
    budgets = [
        budget(name, per=per, limits={"images": 10**9})
        for name, per in (("everyone", []), ("each", ["user"]))
    ]
    database = await open_database(None, home / "data")
    try:
        async with (
            store_running(home / "store") as store,
            gateway_running(home, store.url, budgets=budgets, store_timeout_ms=250) as gateway,
        ):
            assert set((await load(gateway.admin, per_s=10, seconds=1)).statuses) == {200}
            await until(lambda: _stored(store.redis))
            [start_ms] = {bucket.start_ms for bucket in await Archive(database).spent(ORG)}
            await _written(store.redis, start_ms)
            began = time.monotonic()
            await until(lambda: _stored(store.redis), within_s=600)
            stored_s = time.monotonic() - began
            await store.redis.flushall()
            began = time.monotonic()
            next_one = await load(gateway.admin, per_s=1, seconds=1)
            await first_200(gateway.admin)
            rebuilt_s = time.monotonic() - began
            found = await quiet(store.redis, database)
            counted = len(await Archive(database).spent(ORG))
    finally:
        await database.close()
    return [
        Row("F10 journal entries stored before", f"{ENTRIES} in {stored_s:.0f} s", True),
        holds("F10 the next request is 503", true=next_one.statuses == [503]),
        at_most("F10 from the loss to the next image", rebuilt_s, 30, "s"),
        Row("F10 counters rebuilt", str(counted), counted > USERS),
        holds("F10 exact", true=found.differences == ()),
    ]


async def _stored(redis: Redis) -> bool:
    return await redis.xlen(journal_key(ORG)) == 0


async def _written(redis: Redis, start_ms: int) -> None:
    """As many entries as `ENTRIES` in the journal, charged to everyone and to their own users."""
    for first in range(0, ENTRIES, BATCH):
        async with redis.pipeline(transaction=False) as pipeline:
            for number in range(first, first + BATCH):
                user = f"u{number % USERS}"
                of = record(org=ORG, id=f"entry-{number}", user=user, key="admin")
                counters = [
                    ["everyone|{}", start_ms, "central"],
                    [f"each|{json.dumps({'user': user})}", start_ms, "central"],
                ]
                pipeline.xadd(journal_key(ORG), fields(of, counters=json.dumps(counters)))
            await pipeline.execute()


async def f12(home: Path) -> list[Row]:
    """The slot of a busy org moves to another node of a cluster, by ten keys at once as `redis-cli` does."""
    async with cluster_running(home / "cluster") as nodes, service() as images:
        shared = {"ECOGATE_REDIS_URL": cluster_url(nodes), "ECOGATE_STORE_TIMEOUT_MS": "250"}
        async with (
            gateway_process(home / "gateway", {"SE": images.base_url}, budgets=PLENTY, **shared) as gateway,
            gateway.client() as client,
        ):
            await load(client, per_s=50, seconds=MOVED_AFTER_S)
            asking = asyncio.create_task(load(client, per_s=50, seconds=10))
            await asyncio.sleep(1)
            began = time.monotonic()
            await move_slot(nodes, ORG, at_once=10, pause_s=0)
            moved_s = time.monotonic() - began
            tally = await asking
        redis = connect(shared["ECOGATE_REDIS_URL"], timeout_ms=5000)
        try:
            await assert_exact(redis, home / "gateway" / "data", [images])
        finally:
            await redis.aclose()
    admitted_ms = sorted(
        tally.began_ms[one] for one, status in zip(tally.ids, tally.statuses, strict=True) if status == 200
    )
    longest_s = max(after - before for before, after in pairwise(admitted_ms)) / 1000
    return [
        Row("F12 moving the slot", f"{moved_s:.2f} s", True),
        holds("F12 every answer is 200 or 503", true=set(tally.statuses) <= {200, 503}),
        at_most("F12 longest time without an admission while the slot moves", longest_s, 2, "s"),
    ]


async def f24(home: Path) -> list[Row]:
    """The gateway starts before its store, which comes two seconds later."""
    async with store_running(home / "store") as store:
        store.proxy.faults.refusing = True
        async with gateway_running(home, store.url, budgets=PLENTY, store_timeout_ms=250) as gateway:
            before = await load(gateway.admin, per_s=10, seconds=2)
            store.proxy.faults.refusing = False
            enforcing_s = await first_200(gateway.admin)
    return [
        holds("F24 503 without a store", true=set(before.statuses) == {503}),
        at_most("F24 from its start to the first image", enforcing_s, 5, "s"),
    ]
