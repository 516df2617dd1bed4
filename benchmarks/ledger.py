"""What one admission costs the store: reserve and settle in the server's own clock (`INFO commandstats`).

    python benchmarks/ledger.py

Three scopes in two calendar windows each, with three limited dimensions; then the same and a rolling window.
Prints microseconds per call and per pair: the median, and the fastest tenth, which other work on the machine
disturbs least.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.budgets.amounts import Amounts, Charge, Dimension
from gateway.budgets.counter import Counter
from gateway.budgets.ledger import Ledger
from gateway.budgets.windows import Window, current_and_next
from gateway.store.connection import connect
from gateway.store.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from redis.asyncio import Redis

PAIRS = 2000
WARM_UP = 200
LIMITS = {Dimension.ENERGY: 2**50, Dimension.WATER: 2**50, Dimension.CARBON: 2**50}
AMOUNTS = Amounts(2_300_000, 4_000_000, 900_000, 1, 40_000)


def counters(*, rolling: bool) -> list[Counter]:
    now = datetime.now(UTC)
    shapes = [
        (scope, Window("calendar", every))
        for scope in ({"org": "acme"}, {"team": "design"}, {"user": "ada"})
        for every in ("day", "month")
    ]
    if rolling:
        shapes.append(({"user": "ada"}, Window("rolling", "24h")))
    found = []
    for scope, window in shapes:
        buckets = current_and_next(window, "Europe/Paris", now)
        assert buckets is not None, "neither kind has an end"
        name = f"{next(iter(scope))}-{window.kind}-{window.every}"
        empty = Counter(f"{name}|{scope}", name, scope, "central", LIMITS, *buckets)
        found.append(replace(empty, trail=window.trail))
    return found


async def spent_us(redis: Redis) -> float:
    """What scripts took by the server's clock so far."""
    stats: Any = await redis.info("commandstats")
    return float(stats.get("cmdstat_evalsha", {}).get("usec", 0))


async def measure(redis: Redis, *, rolling: bool) -> None:
    await redis.flushall()
    ledger, held = Ledger(redis, lease_s=600, timeout_ms=5000), counters(rolling=rolling)
    charge = Charge(AMOUNTS, AMOUNTS)
    took: dict[str, list[float]] = {"reserve": [], "settle": []}
    for number in range(-WARM_UP, PAIRS):
        hold = f"h{number}"
        start_us = await spent_us(redis)
        await ledger.reserve("acme", hold, [charge], held, "{}")
        middle_us = await spent_us(redis)
        await ledger.settle("acme", hold, charge, "{}", held)
        end_us = await spent_us(redis)
        if number >= 0:
            took["reserve"].append(middle_us - start_us)
            took["settle"].append(end_us - middle_us)
    shape = f"{len(held)} counters{', one of them rolling' if rolling else ''}"
    for tenth, name in ((5, "median"), (1, "fastest tenth")):
        one = {verb: sorted(each)[len(each) * tenth // 10] for verb, each in took.items()}
        calls = ", ".join(f"{verb} {value:.0f} us" for verb, value in one.items())
        print(f"{shape}, {name}: {calls}, pair {sum(one.values()):.0f} us")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedValkey.start(Path(folder)) as server:
        redis = connect(server.url, timeout_ms=5000)
        for rolling in (False, True):
            await measure(redis, rolling=rolling)
        await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main())
