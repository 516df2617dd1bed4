"""A slot of a cluster that was moved brings everything along, so its org is admitted at once; what a replica
took over, or a node that was started anew, may lack something, and has its time of grace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.holds import Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.wire import OrgKeys
from gateway.errors import LedgerUnavailable
from gateway.store.connection import connect
from gateway.store.sql import open_database
from gateway.usage.archive import Archive
from tests.budgets.ledger_builders import charge, counter
from tests.faults.cluster import NODES, cluster_running, cluster_url, move_slot, run
from tests.faults.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis.asyncio import Redis

ORG = "org1"  # on the first node
PLENTY = counter("everyone", images=1000)
GRACE_MS = 600_000

pytestmark = pytest.mark.long


@contextlib.asynccontextmanager
async def ledger_running(nodes: list[Redis], directory: Path) -> AsyncIterator[Ledger]:
    """A ledger on the cluster that has admitted something for `ORG`, with a time of grace without end."""
    redis = connect(cluster_url(nodes), timeout_ms=5000)
    database = await open_database(None, directory)
    try:
        ledger = Ledger(redis, lease_s=60, timeout_ms=5000, archive=Archive(database), grace_ms=GRACE_MS)
        assert isinstance(await ledger.reserve(ORG, "first", [charge(1)], [PLENTY], ""), Held)
        for replica in nodes[NODES:]:
            await until(partial(same_size, nodes[0], replica))
        yield ledger
    finally:
        await database.close()
        await redis.aclose()


async def same_size(primary: Redis, replica: Redis) -> bool:
    return bool(await primary.dbsize() == await replica.dbsize())


async def admits(ledger: Ledger, hold: str) -> bool:
    """Whether a reserve is held, or refused for grace; whatever else a moving cluster says is asked again."""
    async with asyncio.timeout(40):
        while True:
            try:
                return isinstance(await ledger.reserve(ORG, hold, [charge(1)], [PLENTY], ""), Held)
            except LedgerUnavailable as refused:
                if "took over" in str(refused):
                    return False
                await asyncio.sleep(0.1)


async def takes_over(nodes: list[Redis]) -> None:
    """The replica takes the first node's slots, whatever that one says."""
    await run(nodes[-1], "CLUSTER", "FAILOVER", "TAKEOVER")

    async def leads() -> bool:
        return bool((await nodes[-1].info("replication"))["role"] == "master")

    await until(leads)


async def test_the_org_of_a_slot_that_was_moved_is_admitted_at_once(tmp_path: Path) -> None:
    async with cluster_running(tmp_path / "cluster") as nodes, ledger_running(nodes, tmp_path) as ledger:
        await move_slot(nodes, ORG)

        assert await admits(ledger, "second")
        assert await admits(ledger, "third")


async def test_a_replica_that_took_over_has_its_time_of_grace(tmp_path: Path) -> None:
    async with (
        cluster_running(tmp_path / "cluster", replicas=1) as nodes,
        ledger_running(nodes, tmp_path) as ledger,
    ):
        await takes_over(nodes)

        assert not await admits(ledger, "second")


async def test_a_primary_that_has_not_heard_of_its_loss_vouches_for_nobody(tmp_path: Path) -> None:
    async with (
        cluster_running(tmp_path / "cluster", replicas=1) as nodes,
        ledger_running(nodes, tmp_path) as ledger,
    ):
        pid = int((await nodes[0].info("server"))["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            await takes_over(nodes)
            assert not await admits(ledger, "second")
        finally:
            os.kill(pid, signal.SIGCONT)


async def test_a_node_that_started_after_the_last_admission_may_have_lost_what_was_moved(
    tmp_path: Path,
) -> None:
    async with cluster_running(tmp_path / "cluster") as nodes, ledger_running(nodes, tmp_path) as ledger:
        moved_to = await move_slot(nodes, ORG)
        await moved_to.hset(OrgKeys(ORG).meta, "t", 1)

        assert not await admits(ledger, "second")
