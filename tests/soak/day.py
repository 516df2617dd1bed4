"""L3: a day of traffic in minutes, over the end of summer time, straight at the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from gateway.budgets.holds import Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.windows import Window, current_and_next, moment
from gateway.errors import WindowMoved
from gateway.store.sql import open_database
from gateway.usage.archive import Archive
from gateway.usage.journal import JournalConsumer
from gateway.usage.record import encode
from tests.budgets.ledger_builders import charge, counter
from tests.faults.servers import bent, server_running
from tests.faults.world import ORG, charged, quiet
from tests.soak.rows import Row, at_most, holds, memory_mb
from tests.usage.journals import record

DAY_H = 24
FROM = "2026-10-25 00:30:00"  # Europe/Paris leaves summer time half an hour later
PARIS = "Europe/Paris"
RETENTION_H = 5  # a counter outlives its hour by three, a tombstone its settlement by two
LEFT_KEYS = 12
SLOPE_AFTER_MIN = 5
"""A shorter run has not seen enough to call what it sees a slope."""


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def l3(home: Path, minutes: float) -> list[Row]:
    """A day in `minutes`: the store's clock runs fast, and keys expire by it.

    Memory is compared from the middle on, when the process has grown to its size.
    """
    fast = DAY_H * 60 / minutes
    clock = bent(FAKETIME=f"@{FROM} x{fast:.0f}", TZ="UTC")
    database = await open_database(None, home)
    try:
        async with (
            server_running(home / "store", environment=clock) as server,
            server.client() as redis,
            server.client() as reader,
        ):
            ledger = Ledger(redis, lease_s=3600, timeout_ms=5000, archive=Archive(database))
            window = Window("calendar", "hour")

            async def now_ms() -> int:
                seconds, microseconds = await redis.time()
                return int(seconds) * 1000 + int(microseconds) // 1000

            async def work(until_ms: int, worker: int) -> int:
                made = 0
                while (now := await now_ms()) < until_ms:
                    buckets = current_and_next(window, PARIS, moment(now))
                    assert buckets is not None
                    everyone = counter("everyone", buckets=buckets, images=10**9)
                    name = f"{worker}-{made}"
                    written = encode(record(org=ORG, id=name))
                    with contextlib.suppress(WindowMoved):  # the hour has just ended
                        answer = await ledger.reserve(ORG, name, [charge(1)], [everyone], written)
                        assert isinstance(answer, Held)
                        await ledger.settle(ORG, name, charge(1), written, answer.counters)
                        made += 1
                return made

            consumer = JournalConsumer(reader, database)
            draining = asyncio.create_task(consumer.run())
            began_ms = await now_ms()
            warm = await asyncio.gather(*(work(began_ms + 3_600_000, -1 - w) for w in range(4)))
            start_keys, start_descriptors = await redis.dbsize(), descriptors()
            made: list[int] = []
            memories: list[tuple[float, float]] = []
            for hour in (DAY_H // 2, DAY_H):
                until_ms = began_ms + hour * 3_600_000
                made += await asyncio.gather(*(work(until_ms, hour * 10 + w) for w in range(4)))
                memories.append((memory_mb(), time.monotonic()))
            (half_mb, half_s), (end_mb, end_s) = memories
            slope = (end_mb - half_mb) / (end_s - half_s) * 600
            await asyncio.sleep(RETENTION_H * 3600 / fast)
            consumer.stop()
            await draining
            seen = await quiet(redis, database)
            left = await redis.dbsize()
            total = sum(warm) + sum(made)
            exact = seen.differences == () and await charged(database) == total
            opened = descriptors()
    finally:
        await database.close()
    return [
        Row("L3 requests in a day of fast motion", f"{total} at {fast:.0f} times", total > 0),
        at_most(
            "L3 memory grown per ten minutes, second half",
            slope,
            1 if minutes >= SLOPE_AFTER_MIN else float("inf"),
            "MB",
        ),
        Row("L3 keys an hour in, and after retention", f"{start_keys}, {left}", left <= LEFT_KEYS),
        Row("L3 open files", f"{start_descriptors}, {opened}", opened <= start_descriptors + 1),
        holds("L3 exact", true=exact),
    ]
