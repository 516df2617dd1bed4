"""The long runs: steady load (L1), a day in fast motion (L3), ten thousand seeds (X1) and fuzzed readers
(X3).

`python -m tests.soak` runs all four one after the other, each bounded, and writes what it measured as a
table; words choose some of them. Exit code 1 when anything is not as it must be. For a machine that does
nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

import httpx

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
from tests.faults.world import ORG, PLENTY, charged, load, quiet, service, store_running
from tests.processes import gateway_process
from tests.running import UPSTREAM_MODEL
from tests.usage.journals import record

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

Rows = list[tuple[str, str, bool]]
"""What was measured: its name, its value, and whether that is good enough."""

WARM_S = 75  # settlements are remembered for a minute
DAY_H = 24
FAST_FROM = "2026-10-25 00:30:00"  # Europe/Paris leaves summer time half an hour later
PARIS = "Europe/Paris"
RETENTION_H = 5  # a counter outlives its hour by three, a tombstone its settlement by two


def rss_mb(pid: int | str = "self") -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def l1(home: Path, minutes: float) -> Rows:
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
                direct = await load(straight, per_s=50, seconds=30, model=UPSTREAM_MODEL)
            await asyncio.gather(*(load(each, per_s=25, seconds=WARM_S) for each in (first, second)))
            before = [rss_mb(each.process.pid) for each in (one, two)]
            tallies = await asyncio.gather(
                *(load(each, per_s=25, seconds=60 * minutes) for each in (first, second))
            )
            grown = max(rss_mb(each.process.pid) - was for each, was in zip((one, two), before, strict=True))
        seconds = [second for tally in tallies for second in tally.seconds]
        failed = sum(status != 200 for tally in tallies for status in tally.statuses)
        made = len(images.standin.generations) - len(direct.statuses)
        cuts, without = (
            quantiles((1000 * second for second in each), n=100) for each in (seconds, direct.seconds)
        )
        database = await open_database(shared["ECOGATE_DATABASE_URL"], home)
        try:
            found = await quiet(store.redis, database)
            exact = found.differences == () and await charged(database) == made
        finally:
            await database.close()
    return [
        ("L1 requests", str(len(seconds)), len(seconds) >= 50 * 60 * minutes - 2),
        ("L1 answers that were not 200", str(failed), failed == 0),
        *(
            (f"L1 time added, {name}", f"{cuts[at] - without[at]:.1f} ms", cuts[at] - without[at] <= most)
            for name, at, most in (("median", 49, 8), ("99 of 100", 98, 40))
        ),
        ("L1 memory grown in a gateway", f"{grown:.1f} MB", grown <= max(2.0, minutes / 10)),
        ("L1 exact", str(exact), exact),
    ]


async def l3(home: Path, minutes: float) -> Rows:
    """A day in `minutes`, over the end of summer time: the store's clock runs fast, and keys expire by it."""
    fast = DAY_H * 60 / minutes
    clock = bent(FAKETIME=f"@{FAST_FROM} x{fast:.0f}", TZ="UTC")
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
            start = await redis.dbsize(), rss_mb(), descriptors(), time.monotonic()
            made = await asyncio.gather(*(work(began_ms + DAY_H * 3_600_000, w) for w in range(4)))
            slope = (rss_mb() - start[1]) / (time.monotonic() - start[3]) * 600
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
        ("L3 requests in a day of fast motion", f"{total} at {fast:.0f} times", total > 0),
        ("L3 memory grown per ten minutes", f"{slope:.2f} MB", slope < 1 or minutes < 5),
        ("L3 keys an hour in, and after retention", f"{start[0]}, {left}", left <= 12),
        ("L3 open files", f"{start[2]}, {opened}", opened <= start[2] + 1),
        ("L3 exact", str(exact), exact),
    ]


async def x1(home: Path, seeds: int) -> Rows:
    """Seeds in as many processes as there are processors."""
    share = -(-seeds // (os.cpu_count() or 1))
    running = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.simulated", "--from", str(first), "--to"),
            str(min(seeds, first + share)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for first in range(0, seeds, share)
    ]
    told = [(await each.communicate())[0].decode() for each in running]
    for text, each in zip(told, running, strict=True):
        if each.returncode:
            (home / "x1.log").write_text(text)
            print(text[-4000:], file=sys.stderr)  # noqa: T201
    fine = all(each.returncode == 0 for each in running)
    return [("X1 seeds without a break of an invariant", str(seeds) if fine else "a seed failed", fine)]


async def x3(home: Path, minutes: float) -> Rows:
    """The fuzz of the JSON and the form reader, as a process of its own for `minutes` each."""
    rows: Rows = []
    for reader in ("json", "form"):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.images.fuzz", reader, str(minutes * 60)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        text = (await process.communicate())[0].decode().strip()
        rows.append((f"X3 {reader} reader", text.splitlines()[-1] if text else "-", process.returncode == 0))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", default=["l1", "l3", "x1", "x3"])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long L1, L3 and each of X3 take")
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--report", type=Path, default=Path("soak-report.md"))
    given = parser.parse_args()
    parts: dict[str, Callable[[Path], Coroutine[Any, Any, Rows]]] = {
        "l1": lambda home: l1(home, given.minutes),
        "l3": lambda home: l3(home, given.minutes),
        "x1": lambda home: x1(home, given.seeds),
        "x3": lambda home: x3(home, given.minutes),
    }
    lines = [f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {os.cpu_count()} processors.", ""]
    lines += ["| what | measured | good enough |", "|---|---|---|"]
    fine = True
    for part in given.parts:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="ecogate-soak-") as folder:
            rows = asyncio.run(parts[part](Path(folder)))
        for name, value, good in rows:
            lines.append(f"| {name} | {value} | {'yes' if good else 'NO'} |")
            fine = fine and good
        given.report.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{part}: {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    print("\n".join(lines))  # noqa: T201
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
