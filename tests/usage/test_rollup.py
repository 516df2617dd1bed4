"""Sums by the hour are the sums over requests, whatever was delivered in whatever order."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from gateway.store.tables import usage_user_hours
from gateway.usage.entries import read_entry
from gateway.usage.periods import HOUR_MS
from gateway.usage.rollup import ROLLUPS, SUMS, recounted
from gateway.usage.storing import store_entries
from tests.usage.journals import fields, record
from tests.usage.test_avoided import INSTEAD, PLANNED

if TYPE_CHECKING:
    from sqlalchemy import Table

    from gateway.store.sql import Database
    from gateway.usage.entries import Entry

RUNS = iter(range(1_000_000))
SUMMED = importlib.import_module("gateway.store.migrations.versions.0011_usage_by_user_and_hour").SUMMED

changes = st.fixed_dictionaries(
    {
        "team": st.sampled_from([None, "design", "film"]),
        "user": st.sampled_from([None, "ana"]),
        "zone": st.sampled_from([None, "SE"]),
        "decision": st.sampled_from(["allow", "deny"]),
        "basis": st.sampled_from(["settled", "estimate"]),
        "retry_of": st.sampled_from([None, "req_before"]),
        "routing": st.sampled_from([{}, INSTEAD]),
        "footprint": st.sampled_from([{}, record().footprint]),
    }
)
posted = st.tuples(changes, st.integers(-5, 5), st.integers(0, 3), st.integers(0, 3 * HOUR_MS))


Drawn = tuple[dict[str, Any], int, int, int]


def entry(org: str, number: int, drawn: Drawn) -> Entry:
    asked, amount, request, at = drawn
    one = record(id=f"req_{request}", org=org, candidates=PLANNED, **asked)
    written = fields(
        one,
        hold=f"hold_{number}",
        at=at,
        central=f"{amount} {amount} {amount} {amount} {amount} {amount % 2}",
    )
    return read_entry(org, "journal", f"{number}-0", {k.encode(): v.encode() for k, v in written.items()})


async def cells(database: Database, org: str, table: Table, query: Any) -> set[tuple[Any, ...]]:
    async with database.reading() as connection:
        rows = (await connection.execute(query)).mappings().all()
    keys = ROLLUPS[table]
    return {
        (*(row[name] for name in keys), *(int(row[name]) for name in ("hour_ms", *SUMS)))
        for row in rows
        if row["org"] == org and row["requests"] > 0
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_cell_is_the_sum_over_its_requests(sqlite_database: Database, data: st.DataObject) -> None:
    org = f"org{next(RUNS)}"
    drawn = data.draw(st.lists(posted, min_size=1, max_size=8))
    entries = [entry(org, number, one) for number, one in enumerate(drawn)]
    again = data.draw(st.lists(st.sampled_from(entries), max_size=6))
    order = data.draw(st.permutations([*entries, *again]))
    cut = data.draw(st.integers(0, len(order)))

    async def store_and_compare() -> None:
        for batch in (order[:cut], order[cut:]):
            unique = list({one.entry_id: one for one in batch}.values())
            await store_entries(sqlite_database, org, unique)
        found = {
            table: (
                await cells(sqlite_database, org, table, select(table)),
                await cells(sqlite_database, org, table, recounted(table)),
            )
            for table in ROLLUPS
        }
        await sqlite_database.engine.dispose()  # its connections belong to this run's event loop
        for table, (kept, counted) in found.items():
            assert kept == counted
            assert sum(cell[len(ROLLUPS[table]) + 1] for cell in kept) == len(
                {one.request_id for one in entries}
            )

    asyncio.run(store_and_compare())


@pytest.mark.parametrize("table", ROLLUPS, ids=str)
async def test_a_request_that_changes_leaves_its_old_cell(database: Database, table: Table) -> None:
    before, after = {"decision": "allow"}, {"decision": "reroute"}
    await store_entries(database, "acme", [entry("acme", 0, (before, 3, 1, 5))])
    await store_entries(database, "acme", [entry("acme", 1, (after, -1, 1, 6))])

    [cell] = await cells(database, "acme", table, select(table))

    assert cell == (await cells(database, "acme", table, recounted(table))).pop()
    assert "reroute" in cell


async def test_requests_of_before_are_summed_up_by_user_when_the_table_is_made(database: Database) -> None:
    asked: dict[str, Any] = {"user": None, "routing": INSTEAD, "retry_of": "req_before", "decision": "deny"}
    for number, drawn in enumerate([({}, 3, 1, 5), ({}, 4, 2, 7), (asked, 5, 3, HOUR_MS)]):
        await store_entries(database, "acme", [entry("acme", number, drawn)])
    kept = await cells(database, "acme", usage_user_hours, select(usage_user_hours))
    async with database.writing() as connection:
        await connection.execute(usage_user_hours.delete())
        await connection.execute(text(SUMMED))

    assert len(kept) == 2
    assert await cells(database, "acme", usage_user_hours, select(usage_user_hours)) == kept
