"""What a process saw held: named when it is gone, and forgotten when it ended as it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.budgets.ledger import Ledger
from gateway.budgets.wire import OrgKeys
from gateway.budgets.witness import REMEMBERED_S, Recovery, Unexplained, Witness, recovery_facts
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


def recovery(org: str, *unexplained: tuple[int, ...], at_ms: int = 0) -> Recovery:
    lost = tuple(Unexplained(f"{org}-{number}", amounts) for number, amounts in enumerate(unexplained))
    return Recovery("r", org, at_ms, "1-a", "2-b", adopted=1, restored=2, resent=3, unexplained=lost)


def test_where_no_server_changed_there_is_nothing_to_tell() -> None:
    assert recovery_facts([]) is None


def test_the_last_changes_of_all_orgs_are_summed_in_the_units_of_answers_and_name_nobody() -> None:
    told = recovery_facts(
        [
            recovery("acme", (1_500_000, 2_000, 3_000_000, 2, 4_000_000, 0), at_ms=1_764_195_000_000),
            recovery("other", (500_000, 0, 0, 1, 1_000_000, 0), (0, 0, 0, 1, 0, 0)),
        ]
    )

    assert told == {
        "at": "2025-11-26T22:10:00+00:00",
        "orgs": 2,
        "adopted": 2,
        "restored": 4,
        "resent": 6,
        "unexplained_holds": 3,
        "unexplained": {"energy_wh": 2, "water_ml": 2, "carbon_g": 3, "images": 4, "cost_usd": 5},
    }


def test_a_cost_that_nobody_knew_is_not_shown_as_a_sum() -> None:
    told = recovery_facts([recovery("acme", (0, 0, 0, 1, 0, 1), (0, 0, 0, 1, 7, 0))])

    assert told is not None
    assert set(told["unexplained"]) == {"energy_wh", "water_ml", "carbon_g", "images"}
