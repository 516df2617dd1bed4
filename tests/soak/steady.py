"""L1: steady load over two gateways, and what they add to the time that an image takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from gateway.store.sql import open_database
from tests.faults.world import PLENTY, charged, load, quiet, service, store_running
from tests.processes import gateway_process
from tests.running import UPSTREAM_MODEL
from tests.soak.rows import Row, at_most, holds, memory_mb, percentiles_ms

if TYPE_CHECKING:
    from pathlib import Path

WARM_S = 75  # settlements are remembered for a minute
PER_S = 50
MEDIAN_MS, LATE_MS = 8, 40


async def l1(home: Path, minutes: float) -> list[Row]:
    """50 requests per second over two gateways, an image service that takes 200 ms.

    What the gateways add is the difference to the same load sent to the service itself, on the same machine.
    """
    shared: dict[str, str] = {"ECOGATE_STORE_TIMEOUT_MS": "250"}
    async with store_running(home / "store") as store, service(seconds_per_image=0.2) as images:
        shared["ECOGATE_REDIS_URL"] = store.server.url
        shared["ECOGATE_DATABASE_URL"] = f"sqlite:///{home / 'usage.sqlite3'}"
        services = {"SE": images.base_url}
        async with (
            gateway_process(home / "one", services, budgets=PLENTY, **shared) as one,
            gateway_process(home / "two", services, budgets=PLENTY, **shared) as two,
            one.client() as first,
            two.client() as second,
        ):
            straight = httpx.AsyncClient(
                base_url=images.base_url.removesuffix("/v1"), timeout=30, trust_env=False
            )
            async with straight:
                await load(straight, per_s=PER_S, seconds=5, model=UPSTREAM_MODEL)
                direct = await load(straight, per_s=PER_S, seconds=60, model=UPSTREAM_MODEL)
                past = len(images.standin.generations)
            await asyncio.gather(*(load(each, per_s=PER_S / 2, seconds=WARM_S) for each in (first, second)))
            before = [memory_mb(each.process.pid) for each in (one, two)]
            tallies = await asyncio.gather(
                *(load(each, per_s=PER_S / 2, seconds=60 * minutes) for each in (first, second))
            )
            grown = max(
                memory_mb(each.process.pid) - was for each, was in zip((one, two), before, strict=True)
            )
        seconds = [second for tally in tallies for second in tally.seconds]
        failed = sum(status != 200 for tally in tallies for status in tally.statuses)
        made = len(images.standin.generations) - past
        median, late = percentiles_ms(seconds)
        direct_median, direct_late = percentiles_ms(direct.seconds)
        database = await open_database(shared["ECOGATE_DATABASE_URL"], home)
        try:
            found = await quiet(store.redis, database)
            exact = found.differences == () and await charged(database) == made
        finally:
            await database.close()
    return [
        Row(
            "L1 straight to the service, median and 99 of 100",
            f"{direct_median:.1f}, {direct_late:.1f} ms",
            True,
        ),
        Row("L1 over the gateways", f"{median:.1f}, {late:.1f} ms", True),
        Row("L1 requests", str(len(seconds)), len(seconds) >= PER_S * 60 * minutes - 2),
        Row("L1 answers that were not 200", str(failed), failed == 0),
        at_most("L1 time added, median", median - direct_median, MEDIAN_MS, "ms"),
        at_most("L1 time added, 99 of 100", late - direct_late, LATE_MS, "ms"),
        at_most("L1 memory grown in a gateway", grown, max(2.0, minutes / 10), "MB"),
        holds("L1 exact", true=exact),
    ]
