"""What SQL remembers of the ledger: sums per counter, and which entries and orgs it knows.

Invariant: the sums are over every entry that was ever committed to `journal`, so they are what a counter must
show once its stream is drained. Refuses to know Redis and limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import func, select

from gateway.store.tables import journal, postings
from gateway.usage.entries import NOTHING, Amounts

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.store.sql import Database

IDS_PER_QUERY = 500


class CounterBucket(NamedTuple):
    """One counter in one bucket of its window, as the journal names it; the start is UTC epoch ms."""

    counter: str
    start_ms: int


class Spent(NamedTuple):
    """The sum of a counter's entries, and when the last one was written (UTC epoch ms)."""

    amounts: Amounts
    last_ms: int


class Archive:
    """The journal's lasting copy. Every method raises `StoreError` when the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def orgs(self) -> list[str]:
        """Every org that has an entry."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(journal.c.org).distinct().order_by(journal.c.org))
            return [row.org for row in rows]

    async def spent(self, org: str) -> dict[CounterBucket, Spent]:
        """What each counter of the org must have spent, by the bound that it counts."""
        columns = [
            func.sum(journal.c[f"{bound}_{name}"]).label(f"{bound}_{name}")
            for bound in ("central", "high")
            for name in Amounts._fields
        ]
        query = (
            select(
                postings.c.counter,
                postings.c.bucket_start_ms,
                postings.c.bound,
                func.max(journal.c.at_ms).label("last_ms"),
                *columns,
            )
            .join(
                journal,
                (journal.c.org == postings.c.org)
                & (journal.c.stream == postings.c.stream)
                & (journal.c.entry_id == postings.c.entry_id),
            )
            .where(postings.c.org == org)
            .group_by(postings.c.counter, postings.c.bucket_start_ms, postings.c.bound)
        )
        sums: dict[CounterBucket, Spent] = {}
        async with self._database.reading() as connection:
            for row in await connection.execute(query):
                bucket = CounterBucket(row.counter, row.bucket_start_ms)
                amounts = Amounts(*(int(getattr(row, f"{row.bound}_{name}")) for name in Amounts._fields))
                # A budget that changed its bound within a window has entries by both.
                before = sums.get(bucket, Spent(NOTHING, 0))
                sums[bucket] = Spent(before.amounts.plus(amounts), max(before.last_ms, row.last_ms))
        return sums

    async def known(self, org: str, entry_ids: Collection[str]) -> set[str]:
        """Those of the journal's entry ids that SQL has already."""
        found: set[str] = set()
        ids = list(entry_ids)
        async with self._database.reading() as connection:
            for first in range(0, len(ids), IDS_PER_QUERY):
                query = select(journal.c.entry_id).where(
                    journal.c.org == org,
                    journal.c.stream == "journal",
                    journal.c.entry_id.in_(ids[first : first + IDS_PER_QUERY]),
                )
                found |= {row.entry_id for row in await connection.execute(query)}
        return found
