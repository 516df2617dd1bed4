"""Raises in the store against raises in the journal: every difference is named, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from gateway.budgets.ledger import Ledger
from gateway.budgets.raise_audit import audit_raises
from gateway.budgets.raises import ENDED, IN_FORCE, RaiseBook
from gateway.store.keyspace import journal_key
from gateway.usage.archive import Archive
from gateway.usage.journal import JournalConsumer
from tests.budgets.ledger_builders import NOW_MS, ORG, counter, granted

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.store.sql import Database


@pytest.fixture
async def raises(redis: Redis) -> RaiseBook:
    """Three of the org, of which one was ended, and one of another."""
    for org in (ORG, "other"):
        await Ledger(redis, lease_s=60, timeout_ms=5000).balances(org, [counter()])
    book = RaiseBook(redis, timeout_ms=5000, changed=lambda _: None)
    for one in (granted("r1"), granted("r2"), granted("r3", until_ms=NOW_MS + 1), granted("r4", org="other")):
        await book.grant(one)
    await book.end("r2", by="key_olga", now_ms=NOW_MS + 1)
    return book


async def differences(redis: Redis, database: Database, org: str = ORG) -> list[tuple[str, str]]:
    found = await audit_raises(redis, Archive(database), org)
    return [(row.raise_id, row.what) for row in found.differences]


async def test_raises_in_order_are_so_wherever_their_entries_are(
    redis: Redis, database: Database, raises: RaiseBook
) -> None:
    in_stream = await audit_raises(redis, Archive(database), ORG)
    await JournalConsumer(redis, database).drain_once()
    in_sql = await audit_raises(redis, Archive(database), ORG)
    await raises.end("r1", by="key_olga", now_ms=NOW_MS + 2)

    assert (in_stream.raises, in_stream.differences) == (in_sql.raises, in_sql.differences) == (3, ())
    assert await differences(redis, database) == []
    assert await differences(redis, database, "other") == []


async def test_a_raise_that_the_store_lost_is_missing(
    redis: Redis, database: Database, raises: RaiseBook
) -> None:
    await JournalConsumer(redis, database).drain_once()
    await redis.hdel(IN_FORCE, "r1", "r4")
    await redis.hdel(ENDED, "r2")

    assert await differences(redis, database) == [("r1", "missing"), ("r2", "missing")]


async def test_a_raise_that_nobody_granted_is_named(
    redis: Redis, database: Database, raises: RaiseBook
) -> None:
    await redis.hset(IN_FORCE, "forged", msgspec.json.encode(granted("forged")).decode())

    assert await differences(redis, database) == [("forged", "not journaled")]


async def test_a_raise_whose_entry_sql_lost_is_named(
    redis: Redis, database: Database, raises: RaiseBook
) -> None:
    await redis.xtrim(journal_key(ORG), maxlen=0)

    assert await differences(redis, database) == [(name, "not journaled") for name in ("r1", "r2", "r3")]


async def test_other_amounts_and_an_end_that_did_not_happen_are_named(
    redis: Redis, database: Database, raises: RaiseBook
) -> None:
    await JournalConsumer(redis, database).drain_once()
    more = msgspec.structs.replace(granted("r1"), amounts={"energy": 500})
    await redis.hset(
        IN_FORCE, mapping={one.id: msgspec.json.encode(one).decode() for one in (more, granted("r2"))}
    )
    await redis.hdel(ENDED, "r2")

    assert await differences(redis, database) == [
        ("r1", "other than journaled"),
        ("r2", "other than journaled"),
    ]


async def test_a_raise_that_was_filed_away_before_its_time_is_not_in_force(
    redis: Redis, database: Database, raises: RaiseBook
) -> None:
    text = await redis.hget(IN_FORCE, "r1")
    assert text is not None
    await redis.hset(ENDED, "r1", text)
    await redis.hdel(IN_FORCE, "r1")

    assert await differences(redis, database) == [("r1", "not in force")]
