"""The audit finds every difference between counters, journal and open holds, and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.audit import audit
from gateway.budgets.ledger import Ledger
from gateway.budgets.wire import OrgKeys
from gateway.usage.archive import Archive, CounterBucket, Spent
from gateway.usage.entries import Amounts
from gateway.usage.journal import JournalConsumer
from gateway.usage.record import encode
from tests.budgets.ledger_builders import ORG, charge, counter
from tests.usage.journals import record

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.store.sql import Database

MONTH = counter("month", energy=1000)
TEAM = counter("team", scope={"team": "a"}, bound="high", energy=1000)
KEY = OrgKeys(ORG).counter(MONTH, MONTH.current)


@pytest.fixture
async def ledger(redis: Redis) -> Ledger:
    """Three holds: one settled and in SQL, one settled and still in the stream or not, one open."""
    ledger = Ledger(redis, lease_s=60, timeout_ms=5000)
    for hold_id in ("h1", "h2", "h3"):
        await ledger.reserve(ORG, hold_id, [charge(10)], [MONTH, TEAM], encode(record()))
    await ledger.settle(ORG, "h1", charge(7), encode(record()))
    return ledger


async def test_a_ledger_in_order_is_exact_wherever_its_entries_are(
    redis: Redis, ledger: Ledger, database: Database
) -> None:
    archive = Archive(database)
    in_stream = await audit(redis, archive, ORG)
    await JournalConsumer(redis, database).drain_once()
    await ledger.settle(ORG, "h2", charge(9), encode(record()))
    in_both = await audit(redis, archive, ORG)

    assert (in_stream.differences, in_both.differences) == ((), ())
    assert (in_stream.open_holds, in_both.open_holds) == (2, 1)
    assert in_both.counters == 2
    assert (await archive.spent(ORG))[CounterBucket(TEAM.id, TEAM.current.start_ms)].amounts == Amounts(
        14, 0, 0, 1, 0, 0
    )
    assert await archive.orgs() == [ORG]


async def test_a_changed_counter_is_named_though_it_is_charged_all_the_time(
    redis: Redis, ledger: Ledger, database: Database
) -> None:
    async def traffic() -> None:
        for number in range(100):
            await ledger.reserve(ORG, f"busy-{number}", [charge(1)], [MONTH], encode(record()))
            await ledger.settle(ORG, f"busy-{number}", charge(1), encode(record()))
            await asyncio.sleep(0.01)

    await redis.hincrby(KEY, "s1", 5)
    busy = asyncio.create_task(traffic())
    found = await audit(redis, Archive(database), ORG)
    await busy

    (row,) = [row for row in found.differences if row.what == "spent"]
    assert (row.counter, row.figure) == (MONTH.id, "energy")
    assert row.stored == row.expected + 5 > 12


async def test_a_changed_counter_is_named_though_sql_learns_of_it_meanwhile(
    redis: Redis, ledger: Ledger, database: Database
) -> None:
    """The first look reads SQL before any entry of the counter is there, and the stream after they went."""

    class Late(Archive):
        async def spent(self, org: str) -> dict[CounterBucket, Spent]:
            before = await super().spent(org)
            await JournalConsumer(redis, database).drain_once()
            return before

    for hold_id in ("h2", "h3"):
        await ledger.release(ORG, hold_id, encode(record()))
    await redis.hincrby(KEY, "s1", 5)

    found = await audit(redis, Late(database), ORG)

    rows = [(row.counter, row.what, row.figure, row.stored, row.expected) for row in found.differences]
    assert rows == [(MONTH.id, "spent", "energy", 12, 7)]


async def test_a_changed_counter_is_named_with_both_figures(
    redis: Redis, ledger: Ledger, database: Database
) -> None:
    await redis.hincrby(KEY, "s1", 5)
    await redis.hincrby(KEY, "h4", -1)

    found = await audit(redis, Archive(database), ORG)

    rows = {(row.what, row.figure, row.stored, row.expected) for row in found.differences}
    assert rows == {("spent", "energy", 12, 7), ("held", "images", 1, 2)}
    assert {row.counter for row in found.differences} == {MONTH.id}


async def test_a_counter_that_vanished_is_found(redis: Redis, ledger: Ledger, database: Database) -> None:
    await JournalConsumer(redis, database).drain_once()
    await ledger.release(ORG, "h2", encode(record()))
    await ledger.release(ORG, "h3", encode(record()))
    await redis.delete(KEY)

    found = await audit(redis, Archive(database), ORG)

    rows = {(row.counter, row.what, row.stored, row.expected) for row in found.differences}
    assert rows == {(MONTH.id, "spent", 0, 7), (MONTH.id, "spent", 0, 1)}


async def test_an_entry_that_sql_lost_is_found(redis: Redis, ledger: Ledger, database: Database) -> None:
    await redis.xtrim(f"eg:{{{ORG}}}:journal", maxlen=0)

    found = await audit(redis, Archive(database), ORG)

    assert {row.what for row in found.differences} == {"spent"}
    assert {row.expected for row in found.differences} == {0}
