"""Consumers that are killed, and settlements that wait on disk (F22, P4): every entry is counted once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.store.sql import open_database
from tests.budgets.ledger_builders import charge, counter
from tests.faults.world import ORG, PLENTY, assert_exact, charged, load, quiet, service, store_running, until
from tests.processes import gateway_process
from tests.usage.journals import record

if TYPE_CHECKING:
    from pathlib import Path

CONSUME = """
import asyncio, sys
from pathlib import Path
from gateway.store.connection import connect
from gateway.store.sql import open_database
from gateway.usage.journal import JournalConsumer

async def main():
    database = await open_database(None, Path(sys.argv[2]))
    print("begins", flush=True)
    await JournalConsumer(connect(sys.argv[1], timeout_ms=5000), database, claim_idle_ms=300).run()

asyncio.run(main())
"""


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_f22_twenty_consumers_killed_at_their_work_count_every_entry_once(tmp_path: Path) -> None:
    from gateway.budgets.ledger import Ledger
    from gateway.usage.record import encode

    async with store_running(tmp_path / "store") as store:
        ledger = Ledger(store.redis, lease_s=600, timeout_ms=5000)
        everyone = counter("everyone", images=100_000)

        over = asyncio.Event()

        async def settle() -> int:
            number = 0
            while not over.is_set() or number < 3000:
                written = encode(record(org=ORG, id=f"req_{number}"))
                await ledger.reserve(ORG, f"h{number}", [charge(1)], [everyone], written)
                await ledger.settle(ORG, f"h{number}", charge(1), written)
                number += 1
            return number

        settling = asyncio.create_task(settle())
        for number in range(20):
            consumer = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", CONSUME, store.server.url, str(tmp_path)),
                stdout=asyncio.subprocess.PIPE,
            )
            assert consumer.stdout is not None
            await consumer.stdout.readline()
            await asyncio.sleep(0.02 * number)
            consumer.kill()
            await consumer.wait()
        over.set()
        settled = await settling
        database = await open_database(None, tmp_path)
        try:
            assert (await quiet(store.redis, database)).differences == ()
            assert await charged(database) == settled
        finally:
            await database.close()


async def test_settlements_of_a_gateway_that_dies_while_the_store_is_away_are_posted_by_the_next(
    tmp_path: Path,
) -> None:
    home = tmp_path / "gateway"
    async with store_running(tmp_path / "store") as store, service(seconds_per_image=1.0) as images:
        # A lease that outlives the test: only the file on disk can post in time.
        shared = {"ECOGATE_REDIS_URL": store.url, "ECOGATE_LEASE_S": "600"}
        services = {"SE": images.base_url}
        async with gateway_process(home, services, budgets=PLENTY, **shared) as gateway:
            async with gateway.client() as client:
                loading = asyncio.create_task(load(client, per_s=50, seconds=0.2, n=2))

                async def sent() -> bool:
                    return len(images.standin.generations) == 10

                await until(sent)
                store.proxy.stall()
                assert (await loading).statuses == [200] * 10
            gateway.send(signal.SIGKILL)
            await gateway.ended()
        assert list((home / "data" / "unposted").glob("*.jsonl"))
        store.proxy.flow()
        store.proxy.reset_all()
        async with gateway_process(home, services, budgets=PLENTY, **shared):
            await assert_exact(store.redis, home / "data", [images])
            with contextlib.suppress(TimeoutError):
                await until(lambda: _empty(home / "data" / "unposted"), within_s=10)
            assert await _empty(home / "data" / "unposted")


async def _empty(directory: Path) -> bool:
    return not any(path.stat().st_size for path in directory.iterdir())
