from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import Row, func, select

from gateway.errors import StoreError
from gateway.store.connection import connect
from gateway.store.sql import FILE_NAME, Database
from gateway.store.tables import journal, journal_rejects, postings, requests
from gateway.usage.journal import JournalConsumer
from gateway.usage.record import decode
from tests.usage.conftest import Server
from tests.usage.journals import append, footprint, record, refuse

STREAM = "eg:{acme}:journal"
REFUSED = "eg:{acme}:refusals"


async def rows(database: Database, table: Any) -> list[Row[Any]]:
    async with database.reading() as connection:
        return list(await connection.execute(select(table).order_by(*table.primary_key)))


async def energy_uwh(database: Database) -> int:
    async with database.reading() as connection:
        return int(await connection.scalar(select(func.sum(requests.c.energy_uwh))) or 0)


async def until(condition: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(consumer: JournalConsumer) -> Any:
    task = asyncio.create_task(consumer.run())
    yield task
    consumer.stop()
    await asyncio.wait_for(task, 5)


async def test_an_entry_becomes_a_journal_row_a_posting_and_a_request(
    redis: Redis, database: Database
) -> None:
    settled = record()
    entry_id = await append(redis, settled)

    assert await JournalConsumer(redis, database).drain_once() == 1

    [entry] = await rows(database, journal)
    assert (entry.org, entry.stream, entry.entry_id, entry.kind) == ("acme", "journal", entry_id, "commit")
    assert (entry.hold, entry.request_id, entry.at_ms) == (settled.id, settled.id, 1767225600000)
    assert (entry.central_energy_uwh, entry.central_water_ul) == (2_000_000, 4_000)
    assert (entry.high_carbon_ug, entry.high_images) == (2_000_000, 2)
    assert decode(entry.record) == settled
    [posting] = await rows(database, postings)
    assert posting.counter == 'design-month|{"team":"design"}'
    assert (posting.bucket_start_ms, posting.bound) == (1767225600000, "central")
    [request] = await rows(database, requests)
    assert (request.id, request.team, request.user, request.key) == (settled.id, "design", "ana", "key_ana")
    assert request.labels == {"project": "spring"}
    assert (request.energy_low_uwh, request.energy_uwh, request.energy_high_uwh) == (
        1_000_000,
        2_000_000,
        4_000_000,
    )
    assert (request.water_low_ul, request.carbon_low_ug, request.images) == (2_000, 500_000, 2)


async def test_an_entry_leaves_redis_once_it_is_in_sql(redis: Redis, database: Database) -> None:
    await append(redis, record())
    await refuse(redis, record(decision="deny", outcome="refused", images=0))

    assert await JournalConsumer(redis, database).drain_once() == 2

    for stream in (STREAM, REFUSED):
        assert await redis.xlen(stream) == 0
        assert (await redis.xpending(stream, "sql"))["pending"] == 0


async def test_the_entries_of_a_request_add_up_to_one_row(redis: Redis, database: Database) -> None:
    held = record(basis="estimate", outcome="expired", footprint=footprint(energy_wh=3))
    late = record(id=held.id, outcome="delivered", footprint=footprint(energy_wh=2))
    consumer = JournalConsumer(redis, database)
    first = {"kind": "expire", "central": "3000000 6000 1500000 2", "high": "6000000 12000 3000000 2"}
    await append(redis, held, at=1000, **first)
    await consumer.drain_once()
    await append(
        redis, late, kind="late", at=2000, central="-1000000 -2000 -500000 0", high="-2000000 -4000 -1 0"
    )

    await consumer.drain_once()

    [request] = await rows(database, requests)
    assert (request.energy_uwh, request.water_ul, request.carbon_ug) == (2_000_000, 4_000, 1_000_000)
    assert (request.images, request.energy_high_uwh, request.energy_low_uwh) == (2, 4_000_000, 1_000_000)
    assert (request.at_ms, request.updated_at_ms) == (1000, 2000)
    assert (request.basis, request.outcome) == ("settled", "delivered")
    assert len(await rows(database, journal)) == 2


async def test_the_newest_record_stays_when_entries_arrive_in_the_wrong_order(
    redis: Redis, database: Database
) -> None:
    newer = record(outcome="delivered")
    consumer = JournalConsumer(redis, database)
    await append(redis, newer, at=2000)
    await consumer.drain_once()
    await append(redis, record(id=newer.id, outcome="expired"), at=1000, kind="expire")

    await consumer.drain_once()

    [request] = await rows(database, requests)
    assert (request.outcome, request.at_ms, request.energy_uwh) == ("delivered", 1000, 4_000_000)


async def test_a_refusal_is_kept_with_nothing_charged(redis: Redis, database: Database) -> None:
    await refuse(redis, record(decision="deny", outcome="refused", images=0), at_ms=5)

    await JournalConsumer(redis, database).drain_once()

    [request] = await rows(database, requests)
    assert (request.decision, request.at_ms) == ("deny", 5)
    assert (request.energy_low_uwh, request.energy_uwh, request.energy_high_uwh) == (0, 0, 0)
    [entry] = await rows(database, journal)
    assert (entry.stream, entry.kind) == ("refusals", "refusal")


async def test_a_footprint_without_a_lower_bound_has_an_unknown_one(redis: Redis, database: Database) -> None:
    await append(redis, record(footprint={"energy_wh": {"central": 2.0}}))

    await JournalConsumer(redis, database).drain_once()

    [request] = await rows(database, requests)
    assert (request.energy_low_uwh, request.water_low_ul) == (None, None)


async def test_a_request_of_the_same_id_in_another_org_is_another_request(
    redis: Redis, database: Database
) -> None:
    await append(redis, record(id="req_same"))
    await append(redis, record(id="req_same", org="globex"))

    assert await JournalConsumer(redis, database).drain_once() == 2

    assert [request.org for request in await rows(database, requests)] == ["acme", "globex"]


async def test_an_entry_that_is_delivered_again_is_counted_once(redis: Redis, database: Database) -> None:
    settled = record()
    entry_id = await append(redis, settled)
    await JournalConsumer(redis, database).drain_once()
    # As if the acknowledgement had been lost: the same entry, by id, stands in the stream again.
    await redis.delete(STREAM)
    await redis.xadd(STREAM, await _fields(database), id=entry_id)

    assert await JournalConsumer(redis, database).drain_once() in {0, 1}
    assert await JournalConsumer(redis, database).drain_once() == 0

    assert await energy_uwh(database) == 2_000_000
    assert len(await rows(database, journal)) == 1
    assert await redis.xlen(STREAM) == 0


async def _fields(database: Database) -> dict[str, str]:
    from tests.usage.journals import fields

    [entry] = await rows(database, journal)
    return fields(decode(entry.record))
