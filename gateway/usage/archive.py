"""What SQL remembers of the ledger: sums per counter, and which entries and orgs it knows.

Invariant: the sums are over every entry that was ever committed to `journal`, so they are what a counter must
show once its stream is drained. Refuses to know Redis and limits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, select, update

from gateway.store.tables import JOURNALED, journal, ledgers, postings
from gateway.usage.entries import NOTHING, Amounts
from gateway.usage.grants import grants_of
from gateway.usage.record import UNCERTAIN, decode
from gateway.usage.recoveries import recoveries_of
from gateway.usage.turns import in_turn

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Row

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


class Ending(NamedTuple):
    """What all entries of a hold posted, the kind of the last, and (counter, bucket start, bound) of each."""

    hold: str
    kind: str
    central: Amounts
    high: Amounts
    counters: list[tuple[str, int, str]]


class Ended(NamedTuple):
    """What all entries of a request posted, and whether it is known what came of the work."""

    central: Amounts
    known: bool


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

    async def begin(self, org: str, epoch: str) -> bool:
        """Remember that the org has a ledger from now on; False when it had one before."""
        row = {"org": org, "epoch": epoch, "began_at_ms": _now_ms()}
        insert = self._database.insert(ledgers).values(row).on_conflict_do_nothing()
        async with self._database.writing() as connection:
            return bool((await connection.execute(insert)).rowcount)

    async def grants(self, org: str) -> list[str]:
        """Every raise of the org, as it was journaled last, as JSON."""
        return await grants_of(self._database, org)

    async def recoveries(self, org: str) -> list[str]:
        """Every change of servers of the org, as each process journaled it, as JSON, the oldest first."""
        return await recoveries_of(self._database, org)

    async def rebuilt(self, org: str, epoch: str) -> None:
        """Remember that the org's ledger was rebuilt under a new epoch."""
        row = {"org": org, "epoch": epoch, "began_at_ms": _now_ms(), "rebuilt_at_ms": _now_ms()}
        insert = self._database.insert(ledgers).values(row)
        changed = {name: insert.excluded[name] for name in ("epoch", "rebuilt_at_ms")}
        async with self._database.writing() as connection:
            await connection.execute(insert.on_conflict_do_update(index_elements=["org"], set_=changed))

    async def begun(self) -> list[str]:
        """Every org that has a ledger."""
        async with self._database.reading() as connection:
            return [row.org for row in await connection.execute(select(ledgers.c.org))]

    async def turn(self, org: str) -> str | None:
        """The newest turn of the org that `supersede` was told; None when it never was."""
        async with self._database.reading() as connection:
            turn: str | None = await connection.scalar(select(ledgers.c.turn).where(ledgers.c.org == org))
            return turn

    async def ended(self, org: str, request_id: str) -> Ended | None:
        """How a request ended; None when no entry of it has come here."""
        columns = [journal.c[f"central_{name}"].label(name) for name in Amounts._fields]
        query = select(journal.c.kind, journal.c.record, journal.c.at_ms, journal.c.entry_id, *columns).where(
            journal.c.org == org, JOURNALED, journal.c.request_id == request_id
        )
        async with self._database.reading() as connection:
            rows = sorted(await connection.execute(query), key=when)
        if not rows:
            return None
        central = NOTHING
        for row in rows:
            central = central.plus(Amounts(*(getattr(row, name) for name in Amounts._fields)))
        last = rows[-1]
        known = last.kind != "expire" and decode(last.record).outcome not in UNCERTAIN
        return Ended(central, known)

    async def has_hold(self, org: str, hold: str) -> bool:
        """Whether the journal has an entry of the hold."""
        query = select(journal.c.entry_id).where(journal.c.org == org, JOURNALED, journal.c.hold == hold)
        async with self._database.reading() as connection:
            return (await connection.execute(query.limit(1))).first() is not None

    async def supersede(self, org: str, turn: str) -> None:
        """From now on no entry is stored that was read in an earlier turn than this; turns sort as texts.

        Raises `Superseded` when a later one is known.
        """
        async with self._database.writing() as connection:
            await in_turn(self._database, connection, org, turn)
            await connection.execute(update(ledgers).where(ledgers.c.org == org).values(turn=turn))

    async def newest_ms(self, org: str, *, before_ms: int, but: int = 0) -> int | None:
        """When the newest of the entries before a moment was written, or the newest but so many (UTC epoch
        ms); `None` when there are not so many."""
        newest = (
            select(journal.c.at_ms)
            .where(journal.c.org == org, JOURNALED, journal.c.at_ms < before_ms)
            .order_by(journal.c.at_ms.desc())
            .offset(but)
            .limit(1)
        )
        async with self._database.reading() as connection:
            found: int | None = await connection.scalar(newest)
        return found

    async def endings(self, org: str, since_ms: int) -> list[Ending]:
        """Every hold with an entry since then (UTC epoch ms), with the sums of all its entries."""
        columns = [
            journal.c[f"{bound}_{name}"].label(f"{bound}_{name}")
            for bound in ("central", "high")
            for name in Amounts._fields
        ]
        recent = select(journal.c.hold).where(journal.c.org == org, JOURNALED, journal.c.at_ms >= since_ms)
        entries = select(journal.c.hold, journal.c.kind, journal.c.entry_id, journal.c.at_ms, *columns).where(
            journal.c.org == org, JOURNALED, journal.c.hold.in_(recent)
        )
        lines = select(
            postings.c.entry_id, postings.c.counter, postings.c.bucket_start_ms, postings.c.bound
        ).where(postings.c.org == org, postings.c.stream == "journal")
        lines = lines.where(postings.c.entry_id.in_(entries.with_only_columns(journal.c.entry_id)))
        async with self._database.reading() as connection:
            rows = sorted(await connection.execute(entries), key=when)
            posted: dict[str, list[tuple[str, int, str]]] = {}
            for line in await connection.execute(lines):
                posted.setdefault(line.entry_id, []).append((line.counter, line.bucket_start_ms, line.bound))
        found: dict[str, Ending] = {}
        for row in rows:
            before = found.get(row.hold, Ending(row.hold, row.kind, NOTHING, NOTHING, []))
            central, high = (
                Amounts(*(getattr(row, f"{bound}_{name}") for name in Amounts._fields))
                for bound in ("central", "high")
            )
            found[row.hold] = Ending(
                row.hold,
                row.kind,
                before.central.plus(central),
                before.high.plus(high),
                posted.get(row.entry_id, before.counters),
            )
        return list(found.values())


def when(row: Row[Any]) -> tuple[int, str]:
    """By this rows are sorted here: asked for an order, SQLite reads all of an org's journal in it."""
    return row.at_ms, row.entry_id


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
