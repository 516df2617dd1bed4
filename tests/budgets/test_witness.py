"""What a process saw held: named when it is gone, and forgotten when it ended as it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.budgets.ledger import Ledger
from gateway.budgets.wire import OrgKeys
from gateway.budgets.witness import REMEMBERED_S, Recovery, Unexplained, Witness
from gateway.store.keyspace import journal_key
from tests.budgets.ledger_builders import ORG, RECORD, charge, counter, entries

if TYPE_CHECKING:
    from redis.asyncio import Redis

NAMES = OrgKeys(ORG)
HELD = (7, 0, 0, 2, 0, 0)


async def hold(redis: Redis, hold_id: str) -> Ledger:
    ledger = Ledger(redis, lease_s=60, timeout_ms=5000)
    await ledger.reserve(ORG, hold_id, [charge(energy=7, images=2)], [counter()], RECORD)
    return ledger


async def forget(redis: Redis, hold_id: str) -> None:
    """As a replica that never heard of it."""
    await redis.delete(NAMES.hold(hold_id))
    await redis.zrem(NAMES.open_holds, hold_id)


async def test_a_hold_that_was_seen_and_is_gone_is_named_with_what_it_held(redis: Redis) -> None:
    witness = Witness(redis)
    await hold(redis, "h1")
    await hold(redis, "h2")
    await witness.look(ORG)
    await forget(redis, "h1")

    assert await witness.missing(ORG) == {"h1": HELD}
    await witness.look(ORG)
    assert await witness.missing(ORG) == {"h1": HELD}


async def test_a_hold_that_ended_is_not_missing(redis: Redis) -> None:
    witness = Witness(redis)
    ledger = await hold(redis, "h1")
    await witness.look(ORG)
    await ledger.settle(ORG, "h1", charge(energy=7, images=2), RECORD)
    await witness.look(ORG)

    assert await witness.missing(ORG) == {}


async def test_what_was_seen_is_remembered_for_a_minute(redis: Redis) -> None:
    now_s = 0.0
    witness = Witness(redis, lambda: now_s)
    await hold(redis, "h1")
    await witness.look(ORG)
    await forget(redis, "h1")
    now_s = REMEMBERED_S
    await witness.look(ORG)
    assert await witness.missing(ORG) == {"h1": HELD}

    now_s = REMEMBERED_S + 1
    await witness.look(ORG)
    assert await witness.missing(ORG) == {}


async def test_what_was_told_is_told_once_and_posts_nothing(redis: Redis) -> None:
    witness = Witness(redis)
    await hold(redis, "h1")
    await witness.look(ORG)
    await forget(redis, "h1")
    recovery = Recovery("r1", ORG, 5, "a", "b", 1, 2, 3, (Unexplained("h1", HELD),))

    await witness.tell(recovery)

    [entry] = await entries(redis, journal_key(ORG))
    assert (entry["kind"], entry["counters"], entry["central"]) == ("recover", "[]", "0 0 0 0 0 0")
    assert recovery.totals() == {
        "energy": 7,
        "water": 0,
        "carbon": 0,
        "images": 2,
        "cost": 0,
        "unpriced": 0,
    }
    assert await witness.missing(ORG) == {}


async def test_a_recovery_names_what_neither_the_store_nor_sql_knows(redis: Redis) -> None:
    ledger = await hold(redis, "h1")
    await hold(redis, "h2")
    await ledger.expiry.due()
    await forget(redis, "h1")

    told = await ledger.losses.recovered(Recovery("r1", ORG, 5, "a", "b", 0, 1, 0))

    assert told.unexplained == (Unexplained("h1", HELD),)
    assert (await ledger.losses.recovered(told)).unexplained == ()
