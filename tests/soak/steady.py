"""L1: steady load over two gateways, and what they add to the time that an image takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.store.sql import open_database
from tests.faults.world import PLENTY, charged, quiet, service, store_running
from tests.processes import gateway_process
from tests.running import ADMIN_KEY, UPSTREAM_MODEL
from tests.soak.flood import flooded
from tests.soak.rows import Row, at_most, holds, memory_mb, percentiles_ms

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes import GatewayProcess
    from tests.soak.flood import Answers

WARM_S = 75  # settlements are remembered for a minute
PER_S, CONNECTIONS = 50, 16
IMAGE_S = 0.2
MEDIAN_MS, LATE_MS = 8, 40


async def l1(home: Path, minutes: float) -> list[Row]:
    """50 requests per second over two gateways, an image service that takes 200 ms.

    What the gateways add is the difference to the same load sent to the service itself, on the same machine.
    How their memory grows is only told: the garbage collector has not been through all of it by then.
    """
    shared: dict[str, str] = {"ECOGATE_STORE_TIMEOUT_MS": "250"}
    async with store_running(home / "store") as store, service(seconds_per_image=IMAGE_S) as images:
        shared["ECOGATE_REDIS_URL"] = store.server.url
        shared["ECOGATE_DATABASE_URL"] = f"sqlite:///{home / 'usage.sqlite3'}"
        services = {"SE": images.base_url}
        async with (
            gateway_process(home / "one", services, budgets=PLENTY, **shared) as one,
            gateway_process(home / "two", services, budgets=PLENTY, **shared) as two,
        ):
            straight = images.base_url.removesuffix("/v1")
            for seconds in (5, 60):
                direct = await flooded(
                    straight, "none", PER_S * seconds, seconds, CONNECTIONS, model=UPSTREAM_MODEL
                )
            past = len(images.standin.generations)
            await over([one, two], WARM_S)
            before = [memory_mb(each.process.pid) for each in (one, two)]
            answers = await over([one, two], 60 * minutes)
            grown = max(
                memory_mb(each.process.pid) - was for each, was in zip((one, two), before, strict=True)
            )
        failed = sum(status != 200 for status, _ in answers)
        made = len(images.standin.generations) - past
        median, late = percentiles_ms([took for _, took in answers])
        direct_median, direct_late = percentiles_ms([took for _, took in direct])
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
            {status for status, _ in direct} == {200},
        ),
        Row("L1 over the gateways", f"{median:.1f}, {late:.1f} ms", True),
        Row("L1 requests", str(len(answers)), len(answers) >= PER_S * 60 * minutes - 2),
        Row("L1 answers that were not 200", str(failed), failed == 0),
        at_most("L1 time added, median", median - direct_median, MEDIAN_MS, "ms"),
        at_most("L1 time added, 99 of 100", late - direct_late, LATE_MS, "ms"),
        Row("L1 memory grown in a gateway", f"{grown:.1f} MB", True),
        holds("L1 exact", true=exact),
    ]


async def over(gateways: list[GatewayProcess], seconds: float) -> Answers:
    """What clients hear, each gateway with its part of the load."""
    parts = len(gateways)
    heard = await asyncio.gather(
        *(
            flooded(each.url, ADMIN_KEY, int(PER_S * seconds / parts), seconds, CONNECTIONS // parts)
            for each in gateways
        )
    )
    return [answer for answers in heard for answer in answers]
