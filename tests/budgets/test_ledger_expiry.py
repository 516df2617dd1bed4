"""Leases and what happens when they end: charged, voided, renewed, settled late."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.holds import Denied, Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.scripts import Script
from gateway.budgets.wire import OrgKeys
from gateway.store.keyspace import journal_key
from tests.budgets.ledger_builders import (
    BUDGET,
    ORG,
    RECORD,
    charge,
    end_lease,
    everything,
    expired,
    journal,
    posted,
    stored,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

SENT_RECORD = '{"id":"r1","deployment":"d1"}'
ACTUAL_RECORD = '{"id":"r1","basis":"settled"}'


@pytest.fixture
def ledger(holding: Ledger) -> Ledger:
    """One in which `h1` is held."""
    return holding


async def spent_and_held(redis: Redis) -> tuple[list[int], list[int]]:
    fields = await stored(redis, BUDGET)
    return [fields[f"s{d}"] for d in range(1, 7)], [fields[f"h{d}"] for d in range(1, 7)]


async def test_an_expired_hold_is_charged_as_held_where_it_was_sent(ledger: Ledger, redis: Redis) -> None:
    await expired(ledger, redis, sent=SENT_RECORD)

    assert await spent_and_held(redis) == ([40, 4, 5, 2, 0, 0], [0] * 6)
    (entry,) = await journal(redis)
    assert (entry["kind"], entry["central"], entry["high"], entry["record"]) == (
        "expire",
        "40 4 5 2 0 0",
        "80 8 10 2 0 0",
        SENT_RECORD,
    )


async def test_an_expired_hold_that_was_never_sent_is_void(ledger: Ledger, redis: Redis) -> None:
    await expired(ledger, redis)

    assert await spent_and_held(redis) == ([0] * 6, [0] * 6)
    (entry,) = await journal(redis)
    assert (entry["kind"], entry["central"], entry["record"]) == ("release", "0 0 0 0 0 0", RECORD)


async def test_a_hold_is_not_expired_before_its_lease_is_over(ledger: Ledger, redis: Redis) -> None:
    before = await everything(redis)

    assert await ledger.expiry.due() == 0
    assert before == await everything(redis)


async def test_a_hold_that_is_renewed_while_a_reaper_works_stays_open(ledger: Ledger, redis: Redis) -> None:
    """The reaper listed it as due; the script sees that it no longer is."""
    names = OrgKeys(ORG)
    before = await everything(redis)

    keys = [names.hold("h1"), names.open_holds, journal_key(ORG), names.meta]
    answer = await Script.load("expire").run(redis, keys, ["h1", 1000, 1000])

    assert answer == ["early"]
    assert before == await everything(redis)


async def test_a_hold_that_cannot_be_read_does_not_keep_others_from_expiring(
    ledger: Ledger, redis: Redis
) -> None:
    await ledger.reserve(ORG, "h2", [charge(1)], [BUDGET], RECORD)
    await redis.hset(OrgKeys(ORG).hold("h1"), "counters", "not json")
    await end_lease(redis, "h1", "h2")

    assert await ledger.expiry.due() == 1
    assert await redis.zrange(OrgKeys(ORG).open_holds, 0, -1) == ["h1"]


async def test_a_lease_ends_by_the_stores_clock(redis: Redis) -> None:
    ledger = Ledger(redis, lease_s=1, timeout_ms=2000)
    for hold_id in ("left", "renewed", "sent"):
        await ledger.reserve(ORG, hold_id, [charge(10)], [BUDGET], RECORD)
    await asyncio.sleep(0.6)
    assert await ledger.renew([(ORG, "renewed"), (ORG, "unknown"), ("other", "left")]) == [
        (ORG, "unknown"),
        ("other", "left"),
    ]
    await ledger.dispatch(ORG, "sent", "{}")
    await asyncio.sleep(0.6)

    assert await ledger.expiry.due() == 1
    assert (await spent_and_held(redis))[1] == [20, 0, 0, 2, 0, 0]
    assert [entry["hold"] for entry in await journal(redis)] == ["left"]


async def test_a_shorter_lease_does_not_shorten_a_longer_one(ledger: Ledger, redis: Redis) -> None:
    before = await redis.zscore(OrgKeys(ORG).open_holds, "h1")

    await Ledger(redis, lease_s=5, timeout_ms=2000).renew([(ORG, "h1")])

    assert before == await redis.zscore(OrgKeys(ORG).open_holds, "h1")


async def test_renewing_after_the_lease_saves_a_hold_that_nobody_reaped(ledger: Ledger, redis: Redis) -> None:
    await end_lease(redis, "h1")

    assert await ledger.renew([(ORG, "h1")]) == []
    assert await ledger.expiry.due() == 0


async def test_a_renewal_opens_no_hold_that_ended(ledger: Ledger, redis: Redis) -> None:
    await ledger.settle(ORG, "h1", charge(1), RECORD)

    assert await ledger.renew([(ORG, "h1")]) == [(ORG, "h1")]
    assert await redis.zcard(OrgKeys(ORG).open_holds) == 0


@pytest.mark.parametrize("actual", [25, 40, 70])
async def test_a_late_settlement_posts_only_the_signed_difference(
    ledger: Ledger, redis: Redis, actual: int
) -> None:
    await expired(ledger, redis, sent=SENT_RECORD)

    settled = await ledger.settle(ORG, "h1", charge(actual, 4, 6, 2), ACTUAL_RECORD)
    again = await ledger.settle(ORG, "h1", charge(1), RECORD)

    assert (settled.kind, settled.charge) == ("late", charge(actual, 4, 6, 2))
    assert (again.kind, again.first, again.charge) == ("duplicate", "late", settled.charge)
    entry = (await journal(redis))[-1]
    assert (entry["kind"], entry["central"], entry["high"]) == (
        "late",
        f"{actual - 40} 0 1 0 0 0",
        f"{2 * (actual - 40)} 0 2 0 0 0",
    )
    assert await spent_and_held(redis) == ([actual, 4, 6, 2, 0, 0], [0] * 6)
    assert (await stored(redis, BUDGET)).get("o1", 0) == max(0, actual - 40)


async def test_a_late_release_takes_back_what_the_expiry_charged(ledger: Ledger, redis: Redis) -> None:
    await expired(ledger, redis, sent=SENT_RECORD)

    released = await ledger.release(ORG, "h1", ACTUAL_RECORD)
    again = await ledger.release(ORG, "h1", RECORD)

    assert (released.kind, released.charge) == ("late", charge(images=0))
    assert (again.kind, again.first) == ("duplicate", "late")
    assert await spent_and_held(redis) == ([0] * 6, [0] * 6)
    assert posted(await journal(redis), BUDGET) == [0] * 6


async def test_settling_what_an_expiry_voided_changes_nothing(ledger: Ledger, redis: Redis) -> None:
    await expired(ledger, redis)

    settled = await ledger.settle(ORG, "h1", charge(30), RECORD)

    assert (settled.kind, settled.first) == ("duplicate", "release")
    assert (await spent_and_held(redis))[0] == [0] * 6


async def test_a_lost_hold_is_dropped_from_the_open_ones(ledger: Ledger, redis: Redis) -> None:
    await redis.delete(OrgKeys(ORG).hold("h1"))
    await end_lease(redis, "h1")

    assert await ledger.expiry.due() == 0
    assert await redis.zcard(OrgKeys(ORG).open_holds) == 0


async def test_a_refusal_first_ends_the_holds_that_are_due(ledger: Ledger, redis: Redis) -> None:
    full = charge(90)
    assert isinstance(await ledger.reserve(ORG, "h2", [full], [BUDGET], RECORD), Denied)
    await end_lease(redis, "h1")

    assert isinstance(await ledger.reserve(ORG, "h2", [full], [BUDGET], RECORD), Held)


async def test_expiry_is_bounded_and_reaches_every_org(ledger: Ledger, redis: Redis) -> None:
    await ledger.release(ORG, "h1", RECORD)
    for org in ("a", "b", "c"):
        for n in range(4):
            await ledger.reserve(org, f"{org}{n}", [charge(1)], [BUDGET], RECORD)
            await end_lease(redis, f"{org}{n}", org=org)

    assert [await ledger.expiry.due(limit=5) for _ in range(4)] == [5, 5, 2, 0]
    assert [await redis.zcard(OrgKeys(org).open_holds) for org in ("a", "b", "c")] == [0, 0, 0]


async def test_many_reapers_expire_a_hold_once(ledger: Ledger, redis: Redis) -> None:
    await ledger.dispatch(ORG, "h1", "{}")
    await end_lease(redis, "h1")

    assert sum(await asyncio.gather(*(ledger.expiry.due() for _ in range(10)))) == 1
    assert (await spent_and_held(redis))[0] == [40, 4, 5, 2, 0, 0]
