"""Another server takes over: by Sentinels, and with a gateway that dies in the same moment (F6)."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import msgspec
import pytest

from gateway.budgets.witness import Recovery
from gateway.demo.standin import StandInSettings
from gateway.store.sql import open_database
from gateway.usage.archive import Archive
from tests.faults.proxy import FaultProxy
from tests.faults.servers import SERVICE, answers, sentinels_of, server_running
from tests.faults.test_loss import is_replica
from tests.faults.world import (
    ORG,
    PLENTY,
    ask,
    assert_exact,
    charged,
    load,
    quiet,
    service,
    store_running,
    until,
)
from tests.ports import free_port
from tests.processes import gateway_process
from tests.running import gateway_running

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.long
async def test_a_failover_by_sentinels_costs_seconds_and_no_charge(tmp_path: Path) -> None:
    async with (
        server_running(tmp_path / "one") as one,
        server_running(tmp_path / "two", "--replicaof", "127.0.0.1", str(one.port)) as two,
        two.client() as replica,
        sentinels_of(one, tmp_path) as ports,
    ):
        await until(lambda: is_replica(replica))
        places = ",".join(f"127.0.0.1:{port}" for port in ports)
        await asyncio.sleep(3)  # Sentinels find the replica and each other
        zones = {"SE": StandInSettings(zone="SE", seconds_per_image=256)}
        url = f"redis+sentinel://{places}/{SERVICE}"
        async with gateway_running(tmp_path, url, budgets=PLENTY, zones=zones, lease_s=30) as gateway:
            assert set((await load(gateway.admin, per_s=10, seconds=1)).statuses) == {200}
            loading = asyncio.create_task(load(gateway.admin, per_s=5, seconds=4))
            await asyncio.sleep(2)
            await one.kill()
            tally = await loading

            async def admits() -> bool:
                return (await load(gateway.admin, per_s=1, seconds=1)).statuses == [200]

            await until(admits)
            assert set(tally.statuses) <= {200, 503}
            assert tally.count(200) >= 5
            assert await answers(replica)
            await assert_exact(replica, tmp_path / "data", list(gateway.standins.values()))


@pytest.mark.long
async def test_f6_what_a_gateway_took_with_it_is_told_and_is_all_that_is_lost(tmp_path: Path) -> None:
    """Replication stalls while both work on; then primary and one gateway die, and the replica takes over."""
    async with (
        store_running(tmp_path / "store") as store,
        store_running(tmp_path / "replica") as replica,
        service(seconds_per_image=3.0) as images,
    ):
        port = free_port()
        await store.redis.config_set("port", port)
        shared = {
            "ECOGATE_REDIS_URL": store.url,
            "ECOGATE_LEASE_S": "10",
            "ECOGATE_DATABASE_URL": f"sqlite:///{tmp_path / 'usage.sqlite3'}",
        }
        services = {"SE": images.base_url}
        async with (
            FaultProxy(("127.0.0.1", port)) as replication,
            gateway_process(tmp_path / "dies", services, budgets=PLENTY, **shared) as dies,
            gateway_process(tmp_path / "lives", services, budgets=PLENTY, **shared) as lives,
            lives.client() as living,
        ):
            await replica.redis.replicaof("127.0.0.1", replication.port)
            await until(lambda: is_replica(replica.redis))
            assert set((await load(living, per_s=10, seconds=1)).statuses) == {200}
            await asyncio.sleep(0.5)
            replication.stall()
            # These end on the old server alone; SQL hears of them, so they are explained.
            assert await asyncio.gather(*(ask(dies) for _ in range(4))) == [200] * 4
            of_the_living = asyncio.create_task(load(living, per_s=10, seconds=6))
            sent_before = len(images.standin.generations)
            dying = [asyncio.create_task(ask(dies)) for _ in range(8)]
            await asyncio.sleep(2.5)  # the living one has looked meanwhile, and no image is made yet
            assert len(images.standin.generations) - sent_before >= 8
            dies.send(signal.SIGKILL)
            await dies.ended()
            await replica.redis.replicaof("NO", "ONE")
            store.proxy.target = replica.proxy.target
            store.proxy.reset_all()
            await asyncio.gather(*dying)
            tally = await of_the_living

            database = await open_database(shared["ECOGATE_DATABASE_URL"], tmp_path)
            try:

                async def told() -> bool:
                    return bool(await Archive(database).recoveries(ORG))

                await until(told)
                found = await quiet(replica.redis, database)
                made, paid = len(images.standin.generations), await charged(database)
                [text] = await Archive(database).recoveries(ORG)
            finally:
                await database.close()
            metrics = (await living.get("/metrics")).text
            told_by_health = (await living.get("/readyz")).json()["store"]["ledger_recovery"]

        recovery = msgspec.json.decode(text, type=Recovery)
        assert found.differences == ()
        assert set(tally.statuses) <= {200, 503}
        # What the living one sent is charged, and what is not charged is what is told.
        assert recovery.totals()["images"] == len(recovery.unexplained) == made - paid == 8
        assert recovery.before.split("-")[1] != recovery.after.split("-")[1]
        assert recovery.adopted + recovery.restored + recovery.resent > 0
        assert 'ecogate_ledger_unexplained_amounts_total{dimension="images"} 8.0' in metrics
        assert told_by_health["unexplained_holds"] == told_by_health["unexplained"]["images"] == 8
