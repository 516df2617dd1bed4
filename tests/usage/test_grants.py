"""Raises in the journal: kept in SQL as journaled last, and brought back to a store that lost them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from gateway.budgets.audit import audit
from gateway.budgets.ledger import Ledger
from gateway.budgets.raises import ENDED, IN_FORCE, Raise, RaiseBook, bring_back
from gateway.errors import LedgerUnavailable
from gateway.store.tables import journal, requests
from gateway.usage.archive import Archive
from gateway.usage.journal import JournalConsumer
from tests.budgets.ledger_builders import NOW_MS, ORG, RECORD, charge, counter, granted
from tests.usage.test_journal import rows

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.store.sql import Database


def book(redis: Redis) -> RaiseBook:
    return RaiseBook(redis, timeout_ms=5000, changed=lambda _: None)


async def test_a_raise_is_journaled_with_its_author_and_is_no_request(
    redis: Redis, database: Database
) -> None:
    ledger = Ledger(redis, lease_s=60, timeout_ms=5000)
    await ledger.balances(ORG, [counter()])
    raises = book(redis)
    await raises.grant(granted("raise1"))
    await raises.grant(granted("raise2"))
    in_stream = await audit(redis, Archive(database), ORG)
    await raises.end("raise2", by="key_olga", now_ms=NOW_MS + 1)

    await JournalConsumer(redis, database).drain_once()

    kept = {one.id: one for one in map(_raise, await Archive(database).grants(ORG))}
    assert kept["raise1"] == granted("raise1")
    assert (kept["raise2"].ended_ms, kept["raise2"].ended_by) == (NOW_MS + 1, "key_olga")
    assert in_stream.differences == (await audit(redis, Archive(database), ORG)).differences == ()
    assert (await rows(database, journal), await rows(database, requests)) == ([], [])


async def test_a_rebuild_brings_back_raises_in_force_and_those_that_ended(
    redis: Redis, database: Database
) -> None:
    archive = Archive(database)
    ledger = Ledger(redis, lease_s=60, timeout_ms=5000, archive=archive)
    await ledger.balances(ORG, [counter()])
    raises = book(redis)
    for one in (granted("raise1"), granted("raise2"), granted("raise3", until_ms=NOW_MS - 1)):
        await raises.grant(one)
    await raises.end("raise2", by="key_olga", now_ms=NOW_MS + 1)
    await JournalConsumer(redis, database).drain_once()
    await redis.flushall()
    with pytest.raises(LedgerUnavailable):
        await ledger.reserve(ORG, "h1", [charge(1)], [counter(energy=1)], RECORD)

    assert await ledger.losses.rebuild() == 1

    assert set(await redis.hkeys(IN_FORCE)) == {"raise1"}
    assert set(await redis.hkeys(ENDED)) == {"raise2", "raise3"}


async def test_what_ended_in_the_store_is_not_brought_back_in_force(redis: Redis) -> None:
    await redis.hset(ENDED, "raise1", "{}")

    texts = [msgspec.json.encode(granted(f"raise{number}")).decode() for number in (1, 2)]
    assert await bring_back(redis, texts, NOW_MS) == 1
    assert set(await redis.hkeys(IN_FORCE)) == {"raise2"}


def _raise(text: str) -> Raise:
    return msgspec.json.decode(text, type=Raise)
