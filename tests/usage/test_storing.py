from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from gateway.store.tables import journal, requests
from gateway.usage.archive import Archive
from gateway.usage.entries import read_entry
from gateway.usage.storing import store_entries, with_record
from tests.usage.journals import fields, record

if TYPE_CHECKING:
    from gateway.store.sql import Database
    from gateway.usage.entries import Entry

RUNS = iter(range(1_000_000))
WHOLE_JOURNAL = ("(org=?)", "(org=? AND stream=?)", "SCAN journal", "SCAN postings")


def entry(org: str, entry_id: str, request_id: str, at: int, energy_uwh: int) -> Entry:
    written = fields(
        record(id=request_id, org=org, outcome=f"outcome-{at}"),
        at=at,
        central=f"{energy_uwh} 0 0 0 0 0",
        hold=f"hold-{at}",
    )
    return read_entry(org, "journal", entry_id, {k.encode(): v.encode() for k, v in written.items()})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_delivered_in_whatever_order_is_counted_once(
    sqlite_database: Database, data: st.DataObject
) -> None:
    org = f"org{next(RUNS)}"
    amounts = data.draw(st.lists(st.integers(-1000, 1000), min_size=1, max_size=8))
    entries = [
        entry(org, f"{number}-0", f"req_{number % 3}", at=number, energy_uwh=amount)
        for number, amount in enumerate(amounts)
    ]
    again = data.draw(st.lists(st.sampled_from(entries), max_size=8))
    order = data.draw(st.permutations([*entries, *again]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=3)))
    batches = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]

    asyncio.run(_store_and_check(sqlite_database, org, batches, amounts))


async def _store_and_check(
    database: Database, org: str, batches: list[list[Entry]], amounts: list[int]
) -> None:
    fresh = 0
    for batch in batches:
        unique = list({one.entry_id: one for one in batch}.values())
        fresh += await store_entries(database, org, unique)
    assert fresh == len(amounts)
    async with database.reading() as connection:
        total = await connection.scalar(select(func.sum(requests.c.energy_uwh)).where(requests.c.org == org))
        entries = await connection.scalar(
            select(func.count()).select_from(journal).where(journal.c.org == org)
        )
        rows = (await connection.execute(with_record().where(requests.c.org == org))).all()
    await database.engine.dispose()  # its connections belong to this run's event loop
    assert (total, entries) == (sum(amounts), len(amounts))
    for row in rows:
        own = range(int(row.id[-1]), len(amounts), 3)
        assert (row.at_ms, row.updated_at_ms) == (min(own), max(own))
        assert row.outcome == f"outcome-{max(own)}"
        assert row.outcome in row.record


async def test_nothing_that_every_batch_or_takeover_asks_reads_all_of_a_journal(
    sqlite_database: Database,
) -> None:
    asked: list[tuple[str, Any]] = []
    archive = Archive(sqlite_database)

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    engine = sqlite_database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    await store_entries(
        sqlite_database, "many", [entry("many", f"{n}-0", f"r{n}", at=n, energy_uwh=1) for n in range(1, 4)]
    )
    await archive.endings("many", 2)
    await archive.newest_ms("many", before_ms=3, but=1)
    await archive.ended("many", "r1")
    assert await archive.has_hold("many", "hold-1")
    assert await archive.known("many", ["1-0"]) == {"1-0"}
    event.remove(engine, "before_cursor_execute", note)

    assert len(asked) >= 8
    async with sqlite_database.reading() as connection:
        for statement, parameters in asked:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [str(row.detail) for row in plan]
            assert not [step for step in steps if step.endswith(WHOLE_JOURNAL)], statement
