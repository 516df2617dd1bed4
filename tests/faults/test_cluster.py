"""The same ledger on a cluster: every org on its own node, and one whose slot moves under load (F12)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.audit import audit
from gateway.budgets.holds import Denied, Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.rates import Rates
from gateway.errors import LedgerUnavailable
from gateway.identity.subject import Role, Subject
from gateway.routing.latency import Latencies, LatencyShare
from gateway.store.connection import check_server, connect
from gateway.store.sql import open_database
from gateway.usage.archive import Archive
from gateway.usage.journal import JournalConsumer
from gateway.usage.record import encode
from tests.budgets.ledger_builders import charge, counter
from tests.faults.cluster import cluster_running, cluster_url, move_slot
from tests.routing.test_leases import TIMEOUT, deployment, leases, left, take
from tests.usage.journals import record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from redis.asyncio import Redis


ORGS = [f"org{number}" for number in range(12)]
BUDGET = counter("everyone", images=3)


@pytest.mark.long
async def test_every_org_is_enforced_and_exact_on_a_cluster(tmp_path: Path) -> None:
    async with cluster_running(tmp_path / "cluster") as nodes:
        redis = connect(cluster_url(nodes), timeout_ms=5000)
        database = await open_database(None, tmp_path)
        archive = Archive(database)
        try:
            await check_server(redis)
            ledger = Ledger(redis, lease_s=60, timeout_ms=5000, archive=archive, grace_ms=0)

            async def one(org: str, number: int) -> type:
                written = encode(record(org=org, id=f"{org}-{number}"))
                answer = await ledger.reserve(org, f"h{number}", [charge(1)], [BUDGET], written)
                if isinstance(answer, Held):
                    await ledger.dispatch(org, f"h{number}", written)
                    await ledger.settle(org, f"h{number}", charge(1), written)
                return type(answer)

            verdicts = await asyncio.gather(*(one(org, number) for org in ORGS for number in range(5)))

            assert (verdicts.count(Held), verdicts.count(Denied)) == (3 * len(ORGS), 2 * len(ORGS))
            assert {await node.dbsize() > 0 for node in nodes} == {True}
            noted: list[str] = []
            limits = Rates(redis, 5000, 2, noted.append)
            asked = [Subject(org=org, key="key_1", role=Role.MEMBER) for org in ORGS for _ in range(3)]
            standings = await asyncio.gather(*map(limits.take, asked))
            assert sorted(one.wait_ms > 0 for one in standings if one) == [False] * 24 + [True] * 12
            assert await ledger.expiry.due() == 0
            consumer = JournalConsumer(redis, database)
            assert await consumer.drain_once() == 3 * len(ORGS)
            for org in ORGS:
                assert (await audit(redis, archive, org)).differences == ()
        finally:
            await database.close()
            await redis.aclose()


@pytest.mark.long
async def test_f12_an_org_whose_slot_moves_under_load_stays_exact(tmp_path: Path) -> None:
    async with cluster_running(tmp_path / "cluster") as nodes:
        redis = connect(cluster_url(nodes), timeout_ms=1000)
        database = await open_database(None, tmp_path)
        archive = Archive(database)
        plenty = counter("everyone", images=100_000)
        try:
            ledger = Ledger(redis, lease_s=60, timeout_ms=1000, archive=archive, grace_ms=200)
            charged = refused = 0
            moving: asyncio.Task[Redis] | None = None
            for number in range(300):
                written = encode(record(org="busy", id=f"r{number}"))
                if number == 50:
                    moving = asyncio.create_task(move_slot(nodes, "busy"))
                try:
                    await ledger.reserve("busy", f"h{number}", [charge(1)], [plenty], written)
                except LedgerUnavailable:
                    refused += 1
                    await asyncio.sleep(0.05)
                    await again(lambda n=number, w=written: ledger.release("busy", f"h{n}", w))  # type: ignore[misc]
                    continue
                await again(lambda n=number, w=written: ledger.settle("busy", f"h{n}", charge(1), w))  # type: ignore[misc]
                charged += 1
            assert moving is not None
            await moving

            await JournalConsumer(redis, database).drain_once()
            found = await audit(redis, archive, "busy")
            sums = await archive.spent("busy")
            assert (found.differences, found.open_holds) == ((), 0)
            assert [spent.amounts.images for spent in sums.values()] == [charged]
            assert charged > 100
        finally:
            await database.close()
            await redis.aclose()


async def again(call: Callable[[], Awaitable[object]]) -> None:
    """Until it is done, as the gateway's queue does."""
    async with asyncio.timeout(20):
        while True:
            try:
                await call()
            except LedgerUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


@pytest.mark.long
async def test_slots_circuits_and_latencies_are_shared_on_a_cluster(tmp_path: Path) -> None:
    async with cluster_running(tmp_path / "cluster") as nodes:
        redis = connect(cluster_url(nodes), timeout_ms=5000)
        try:
            a, b = deployment("a", 2), deployment("b", 1)
            mine = leases(redis)
            took = [await take(mine, f"r{number}", a, b) for number in range(4)]
            assert [one.chosen for one in took] == [0, 0, 1, None]

            await mine.renew_once()
            for number in range(2):
                await left(mine, f"r{number}", a, TIMEOUT)
            other = leases(redis)
            await other.look([a, b])
            assert (other.fleet.sight(a).state, other.fleet.sight(b).in_use) == ("ejected", 1)

            durations = Latencies()
            for _ in range(5):
                durations.learn("a", "images.generate 1", 3.0)
            await LatencyShare(redis, durations).tick(["a", "b"], 1_800_000_000)
            assert durations.usual("a", "images.generate 1").p50_s == 4.0
        finally:
            await redis.aclose()
