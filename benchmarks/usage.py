"""How long usage of a month takes over many requests, from the sums by the hour and from the rows themselves.

    python benchmarks/usage.py [--requests 1000000] [--url postgresql://...] [--rounds 20]

Writes made-up requests of one month into an empty database (SQLite in a temporary directory without --url),
and prints the median and the 95th percentile in milliseconds. The target is 300 for a grouped month.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from gateway.identity.subject import Role, Subject
from gateway.store.sql import open_database
from gateway.store.tables import journal, requests
from gateway.usage.periods import period, zone_named
from gateway.usage.queries import UsageQueries
from gateway.usage.rollup import ROLLUPS, recounted
from gateway.usage.totals import UsageQuestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Table

    from gateway.store.sql import Database

BATCH = 20_000
START = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp() * 1000)
MONTH_MS = 31 * 24 * 3_600_000
OWNER = Subject(org="acme", key="key_owner", role=Role.ORG_ADMIN)
QUESTIONS = (
    ("month by team, from sums", ("team",), "month"),
    ("days by team and zone, from sums", ("team", "zone"), "day"),
    ("month by team, model and zone, from sums", ("team", "model", "zone"), "month"),
    ("month by user, from sums", ("user",), "month"),
    ("days by user, from sums", ("user",), "day"),
    ("month by user and model, from rows", ("user", "model"), "month"),
)


def nothing(table: Table) -> dict[str, Any]:
    """A row of a table with an amount of 0 wherever one is required."""
    return {one.name: 0 for one in table.columns if one.type.python_type is int and not one.nullable}


def rows(count: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(1)  # noqa: S311
    amounts = ("energy", "uwh"), ("water", "ul"), ("carbon", "ug")
    for number in range(count):
        size = draw.randint(1, 4)
        at = START + draw.randrange(MONTH_MS)
        user = draw.randrange(300)
        yield nothing(requests) | {
            "org": "acme",
            "id": f"req_{number}",
            "at_ms": at,
            "updated_at_ms": at,
            "team": f"team-{user % 10}",
            "user": f"user-{user}",
            "key": "key_a",
            "labels": {},
            "model": f"model-{draw.randrange(3)}",
            "route": "images.generate",
            "deployment": "flux",
            "zone": draw.choice(["SE", "FR", "DE", "PL"]),
            "decision": "allow",
            "outcome": "delivered",
            "basis": "settled",
            "images": size,
            "cost_uusd": 40_000 * size,
            **{
                f"{name}{bound}_{unit}": 1000 * size
                for name, unit in amounts
                for bound in ("", "_low", "_high")
            },
            "avoided_even_ug": size,
            "avoided_fixed_ug": -size,
            "record_stream": "journal",
            "record_entry_id": "1-0",
        }


async def fill(database: Database, count: int) -> None:
    entry = {column.name: "1-0" if column.type.python_type is str else 0 for column in journal.columns}
    async with database.writing() as connection:
        await connection.execute(journal.insert(), [entry | {"org": "acme", "stream": "journal"}])
        batch = []
        for row in rows(count):
            batch.append(row)
            if len(batch) == BATCH:
                await connection.execute(requests.insert(), batch)
                batch = []
        if batch:
            await connection.execute(requests.insert(), batch)
        for table in ROLLUPS:
            counted = recounted(table)
            names = [column.name for column in counted.selected_columns]
            await connection.execute(table.insert().from_select(names, counted))
        await connection.execute(text("ANALYZE"))


async def measure(database: Database, rounds: int) -> None:
    queries = UsageQueries(database)
    for label, groups, window in QUESTIONS:
        within = period(
            "2026-10-01", "2026-11-01", zone_named("Europe/Paris"), window="month", now=datetime.now(UTC)
        )
        question = UsageQuestion(within, window, groups)  # type: ignore[arg-type]
        took, cpu = list[float](), time.process_time()
        for _ in range(rounds):
            before = time.perf_counter()
            found = await queries.usage(OWNER, question)
            took.append((time.perf_counter() - before) * 1000)
        took.sort()
        cpu = (time.process_time() - cpu) * 1000 / rounds
        late = took[min(len(took) - 1, int(0.95 * len(took)))]
        wall = f"median {median(took):7.1f} ms  p95 {late:7.1f} ms"
        print(f"{label:42} {len(found):5} rows  {wall}  CPU of this process {cpu:7.1f} ms", flush=True)


async def run(url: str | None, count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        database = await open_database(url, Path(directory))
        await fill(database, count)
        await measure(database, rounds)
        await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--url")
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    asyncio.run(run(asked.url, asked.requests, asked.rounds))


if __name__ == "__main__":
    main()
