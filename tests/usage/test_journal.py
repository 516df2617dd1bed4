from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Row, func, select

from gateway.errors import StoreError
from gateway.store.connection import connect
from gateway.store.tables import journal, journal_rejects, postings, requests
from gateway.store.valkey import EmbeddedValkey
from gateway.usage.journal import JournalConsumer
from gateway.usage.record import decode
from tests.usage.journals import append, fields, footprint, record, refuse

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

    from gateway.store.sql import Database

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
    first = {"kind": "expire", "central": "3000000 6000 1500000 2 0 1", "high": "6000000 12000 3000000 2 0 1"}
    await append(redis, held, at=1000, **first)
    await consumer.drain_once()
    [before] = await rows(database, requests)
    less = {"central": "-1000000 -2000 -500000 0 70000 -1", "high": "-2000000 -4000 -1 0 70000 -1"}
    await append(redis, late, kind="late", at=2000, **less)

    await consumer.drain_once()

    [request] = await rows(database, requests)
    assert (request.energy_uwh, request.water_ul, request.carbon_ug) == (2_000_000, 4_000, 1_000_000)
    assert (before.cost_uusd, request.cost_uusd) == (None, 70_000)
    assert (request.images, request.energy_high_uwh, request.energy_low_uwh) == (2, 4_000_000, 1_000_000)
    assert (request.at_ms, request.updated_at_ms) == (1000, 2000)
    assert (request.basis, request.outcome) == ("settled", "delivered")
    assert len(await rows(database, journal)) == 2


async def test_the_newest_record_stays_when_entries_arrive_in_the_wrong_order(
    redis: Redis, database: Database
) -> None:
    newer = record(outcome="delivered")
    consumer = JournalConsumer(redis, database)
    await append(redis, newer, at=2000, kind="late")
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

    assert await JournalConsumer(redis, database).drain_once() == 0

    assert await rows(database, journal_rejects) == []
    assert await energy_uwh(database) == 2_000_000
    assert len(await rows(database, journal)) == 1
    assert await redis.xlen(STREAM) == 0


async def _fields(database: Database) -> Any:
    [entry] = await rows(database, journal)
    return fields(decode(entry.record))


async def test_what_sql_did_not_take_is_taken_when_it_works_again(
    redis: Redis, sqlite_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    consumer = JournalConsumer(redis, sqlite_database)
    async with sqlite_database.writing() as connection:
        await connection.exec_driver_sql("ALTER TABLE requests RENAME TO away")
    await append(redis, record())

    async with running(consumer):
        await until(lambda: _is(consumer, "StoreError"))
        await asyncio.sleep(0.5)
        assert await redis.xlen(STREAM) == 1
        async with sqlite_database.writing() as connection:
            await connection.exec_driver_sql("ALTER TABLE away RENAME TO requests")
        await until(lambda: _is(consumer, None))

    assert await energy_uwh(sqlite_database) == 2_000_000
    assert await redis.xlen(STREAM) == 0
    assert [entry.levelname for entry in caplog.records if "consumer" in entry.message] == ["WARNING", "INFO"]


async def _is(consumer: JournalConsumer, trouble: str | None) -> bool:
    return consumer.trouble == trouble


async def test_a_consumer_outlives_a_redis_that_dies_and_comes_back(
    sqlite_database: Database, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(EmbeddedValkey.start, tmp_path / "own", fsync="always")
    client = connect(server.url, timeout_ms=500)
    consumer = JournalConsumer(client, sqlite_database)
    await append(client, record())

    async with running(consumer):
        await until(lambda: _stored(sqlite_database, 1))
        await asyncio.to_thread(server.stop)
        await until(lambda: _troubled(consumer))
        server = await asyncio.to_thread(EmbeddedValkey.start, tmp_path / "own", fsync="always")
        await append(client, record())
        await until(lambda: _stored(sqlite_database, 2), seconds=10)

    await client.aclose()
    await asyncio.to_thread(server.stop)


async def _troubled(consumer: JournalConsumer) -> bool:
    return consumer.trouble is not None


async def _stored(database: Database, count: int) -> bool:
    return len(await rows(database, requests)) == count


async def test_entries_that_a_dead_consumer_was_given_are_taken_over(
    redis: Redis, sqlite_database: Database
) -> None:
    await append(redis, record())
    await redis.xgroup_create(STREAM, "sql", id="0")
    await redis.xreadgroup("sql", "dead", {STREAM: ">"})
    consumer = JournalConsumer(redis, sqlite_database, claim_idle_ms=50)
    assert await consumer.drain_once() == 0

    await asyncio.sleep(0.1)

    assert await consumer.drain_once() == 1
    assert await redis.xlen(STREAM) == 0


async def test_an_interrupted_consumer_begins_with_what_it_was_given(
    redis: Redis, sqlite_database: Database
) -> None:
    consumer = JournalConsumer(redis, sqlite_database, claim_idle_ms=3_600_000)
    await append(redis, record())
    async with sqlite_database.writing() as connection:
        await connection.exec_driver_sql("ALTER TABLE requests RENAME TO away")
    with pytest.raises(StoreError):
        await consumer.drain_once()
    async with sqlite_database.writing() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO requests")

    assert await consumer.drain_once() == 1

    assert await energy_uwh(sqlite_database) == 2_000_000


async def test_consumers_side_by_side_count_each_entry_once(redis: Redis, database: Database) -> None:
    settled = [record(id=f"req_{number % 40}") for number in range(200)]
    for number, entry in enumerate(settled):
        await append(redis, entry, hold=f"h{number}")
    consumers = [JournalConsumer(redis, database, claim_idle_ms=0) for _ in range(3)]

    for _ in range(3):
        await asyncio.gather(*(consumer.drain_once() for consumer in consumers))

    assert await rows(database, journal_rejects) == []
    assert await energy_uwh(database) == 200 * 2_000_000
    assert len(await rows(database, journal)) == 200
    assert len(await rows(database, requests)) == 40


async def test_more_entries_than_a_batch_are_drained_in_one_go(
    redis: Redis, sqlite_database: Database
) -> None:
    for number in range(450):
        await append(redis, record(org=f"org{number % 3}"))

    assert await JournalConsumer(redis, sqlite_database).drain_once() == 450

    async with sqlite_database.reading() as connection:
        assert await connection.scalar(select(func.count()).select_from(requests)) == 450


async def test_an_org_that_appears_is_picked_up_within_a_second(
    redis: Redis, sqlite_database: Database
) -> None:
    async with running(JournalConsumer(redis, sqlite_database)):
        await asyncio.sleep(0.3)
        await append(redis, record(org="new-org"))
        await until(lambda: _stored(sqlite_database, 1), seconds=1)


async def test_streams_that_vanish_with_their_groups_are_found_again(
    redis: Redis, sqlite_database: Database
) -> None:
    async with running(JournalConsumer(redis, sqlite_database)):
        await append(redis, record())
        await until(lambda: _stored(sqlite_database, 1))
        await redis.flushall()
        await append(redis, record())
        await until(lambda: _stored(sqlite_database, 2))


POISON = [
    {"kind": "gift"},
    {"central": "1 2 3"},
    {"central": "1 2 3 4.0"},
    {"high": f"{2**53} 0 0 0"},
    {"at": ""},
    {"at": "soon"},
    {"counters": "{}"},
    {"counters": '[["c", -1, "central"]]'},
    {"counters": f'[["c", {2**60}, "central"]]'},
    {"record": "{"},
    {"record": "{}"},
    {"record": json.dumps({"id": "x", "org": "globex"})},
    {"hold": "a\x00b"},
]


@pytest.mark.parametrize("broken", POISON, ids=str)
async def test_an_entry_that_cannot_be_read_is_set_aside_and_blocks_nothing(
    redis: Redis, database: Database, broken: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    await append(redis, record())
    entry_id = await append(redis, record(), **broken)
    await append(redis, record())

    assert await JournalConsumer(redis, database).drain_once() == 2

    [reject] = await rows(database, journal_rejects)
    assert (reject.org, reject.stream, reject.entry_id) == ("acme", "journal", entry_id)
    assert broken.items() <= json.loads(reject.fields).items()
    ours = [line.levelname for line in caplog.records if line.name.startswith("gateway")]
    assert ours == ["ERROR"]
    assert await redis.xlen(STREAM) == 0


@pytest.mark.parametrize(
    "changes",
    [{"org": "globex"}, {"id": ""}, {"labels": {"a": "\x00"}}, {"model": "\x00"}, {"id": "x" * 9000}],
    ids=["foreign org", "no id", "NUL in a label", "NUL in a name", "very long id"],
)
async def test_a_record_that_sql_cannot_hold_is_set_aside_on_every_database_or_stored_on_it(
    redis: Redis, database: Database, changes: dict[str, Any]
) -> None:
    good, bad = record(), record(**changes)
    await redis.sadd("eg:orgs", "acme")
    for entry in (bad, good):
        await redis.xadd(STREAM, fields(entry))

    await JournalConsumer(redis, database).drain_once()

    stored = {row.id for row in await rows(database, requests)}
    rejected = await rows(database, journal_rejects)
    assert good.id in stored
    assert len(stored) + len(rejected) == 2
    assert await redis.xlen(STREAM) == 0


async def test_bytes_that_are_no_text_do_not_hide_the_entries_beside_them(
    redis: Redis, sqlite_database: Database
) -> None:
    await append(redis, record())
    await redis.xadd(STREAM, {b"kind": b"\xff\xfe", b"\xff": b"commit"})

    assert await JournalConsumer(redis, sqlite_database).drain_once() == 1

    [reject] = await rows(sqlite_database, journal_rejects)
    assert json.loads(reject.fields) == {"kind": "base64://4=", "base64:/w==": "commit"}


async def test_a_stopped_consumer_leaves_no_name_behind(redis: Redis, sqlite_database: Database) -> None:
    async with running(JournalConsumer(redis, sqlite_database)):
        await append(redis, record())
        await until(lambda: _stored(sqlite_database, 1))
        assert len(await redis.xinfo_consumers(STREAM, "sql")) == 1

    assert await redis.xinfo_consumers(STREAM, "sql") == []


async def test_the_sum_in_sql_survives_consumers_that_are_cancelled_at_random(
    redis: Redis, sqlite_database: Database
) -> None:
    written = 0
    for delay_ms in range(0, 40, 2):
        for _ in range(5):
            await append(redis, record(id=f"req_{written % 7}"), hold=f"h{written}")
            written += 1
        task = asyncio.create_task(JournalConsumer(redis, sqlite_database, claim_idle_ms=0).drain_once())
        await asyncio.sleep(delay_ms / 1000)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    last = JournalConsumer(redis, sqlite_database, claim_idle_ms=0)
    await last.drain_once()
    await last.drain_once()

    assert await energy_uwh(sqlite_database) == written * 2_000_000
    assert await redis.xlen(STREAM) == 0
