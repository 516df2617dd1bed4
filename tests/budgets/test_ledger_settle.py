"""How holds end: settled, released, expired, late, twice, or lost by the store."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.amounts import Dimension
from gateway.budgets.counter import Bucket
from gateway.budgets.holds import Denied, Held
from gateway.budgets.wire import OrgKeys
from gateway.errors import HoldGone
from tests.budgets.ledger_builders import (
    BUDGET,
    HIGH,
    HOUR_MS,
    ORG,
    RECORD,
    charge,
    counter,
    counter_keys,
    end_lease,
    everything,
    expired,
    journal,
    now_ms,
    posted,
    stored,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.budgets.ledger import Ledger

ACTUAL_RECORD = '{"id":"r1","basis":"settled"}'


@pytest.fixture
def ledger(holding: Ledger) -> Ledger:
    """One in which `h1` is held."""
    return holding


async def spent_and_held(redis: Redis) -> tuple[list[int], list[int]]:
    fields = await stored(redis, BUDGET)
    return [fields[f"s{d}"] for d in range(1, 7)], [fields[f"h{d}"] for d in range(1, 7)]


async def test_settling_charges_what_came_and_frees_what_was_held(ledger: Ledger, redis: Redis) -> None:
    settled = await ledger.settle(ORG, "h1", charge(30, 3, 4, 1), ACTUAL_RECORD)

    assert (settled.kind, settled.charge, settled.reserved) == (
        "commit",
        charge(30, 3, 4, 1),
        charge(40, 4, 5, 2),
    )
    assert settled.overrun == charge(0, images=0)
    assert await spent_and_held(redis) == ([30, 3, 4, 1, 0, 0], [0] * 6)
    high = await stored(redis, HIGH)
    assert [high[f"s{d}"] for d in range(1, 7)] == [60, 6, 8, 1, 0, 0]
    assert await redis.zcard(OrgKeys(ORG).open_holds) == 0


async def test_a_settlement_is_journaled_with_both_bounds_and_its_counters(
    ledger: Ledger, redis: Redis
) -> None:
    await ledger.settle(ORG, "h1", charge(30, 3, 4, 1), ACTUAL_RECORD)

    (entry,) = await journal(redis)
    assert abs(int(entry.pop("at")) - now_ms()) < 2000
    assert json.loads(entry.pop("counters")) == [
        ["month|{}", BUDGET.current.start_ms, "central"],
        ["high|{}", HIGH.current.start_ms, "high"],
    ]
    assert entry == {
        "kind": "commit",
        "hold": "h1",
        "central": "30 3 4 1 0 0",
        "high": "60 6 8 1 0 0",
        "record": ACTUAL_RECORD,
    }


async def test_a_charge_beyond_the_hold_is_posted_in_full_and_noted_as_overrun(
    ledger: Ledger, redis: Redis
) -> None:
    settled = await ledger.settle(ORG, "h1", charge(130, 4, 3, 5), RECORD)

    assert settled.overrun.central.vector() == (90, 0, 0, 3, 0, 0)
    fields = await stored(redis, BUDGET)
    assert {name: fields.get(name) for name in ("s1", "o1", "o2", "o3", "o4")} == {
        "s1": 130,
        "o1": 90,
        "o2": None,
        "o3": None,
        "o4": 3,
    }
    assert isinstance(await ledger.reserve(ORG, "h2", [charge(1)], [BUDGET], RECORD), Denied)


async def test_the_counters_of_the_hold_save_the_second_call(ledger: Ledger, redis: Redis) -> None:
    async def scripts_run() -> int:
        calls = await redis.info("commandstats")
        return sum(calls.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))

    again = await ledger.reserve(ORG, "h1", [charge(40, 4, 5, 2)], [BUDGET, HIGH], RECORD)
    assert isinstance(again, Held)
    await ledger.release(ORG, "warm", RECORD)
    await ledger.settle(ORG, "warm", charge(0), RECORD)
    before = await scripts_run()

    await ledger.settle(ORG, "h1", charge(1), RECORD, again.counters)

    assert await scripts_run() - before == 1


async def test_settling_twice_charges_once_and_answers_the_first_time(ledger: Ledger, redis: Redis) -> None:
    await ledger.settle(ORG, "h1", charge(30), RECORD)
    before = await everything(redis)

    again = await ledger.settle(ORG, "h1", charge(99), RECORD, [BUDGET, HIGH])

    assert (again.kind, again.first, again.charge, again.reserved) == (
        "duplicate",
        "commit",
        charge(30),
        charge(40, 4, 5, 2),
    )
    assert before == await everything(redis)


async def test_many_settlements_at_once_charge_once(ledger: Ledger, redis: Redis) -> None:
    answers = await asyncio.gather(*(ledger.settle(ORG, "h1", charge(30), RECORD) for _ in range(20)))

    assert sorted(answer.kind for answer in answers) == ["commit"] + ["duplicate"] * 19
    assert (await spent_and_held(redis))[0] == [30, 0, 0, 1, 0, 0]


async def test_releasing_frees_and_charges_nothing_but_stays_reviewable(ledger: Ledger, redis: Redis) -> None:
    released = await ledger.release(ORG, "h1", ACTUAL_RECORD)

    assert (released.kind, released.charge) == ("release", charge(images=0))
    assert await spent_and_held(redis) == ([0] * 6, [0] * 6)
    (entry,) = await journal(redis)
    assert (entry["kind"], entry["central"], entry["high"], entry["record"]) == (
        "release",
        "0 0 0 0 0 0",
        "0 0 0 0 0 0",
        ACTUAL_RECORD,
    )


async def test_a_release_stands_whatever_comes_after_it(ledger: Ledger, redis: Redis) -> None:
    await ledger.release(ORG, "h1", RECORD)
    before = await everything(redis)

    settled = await ledger.settle(ORG, "h1", charge(30), RECORD, [BUDGET, HIGH])
    released = await ledger.release(ORG, "h1", RECORD)

    assert (settled.kind, settled.first, settled.charge) == ("duplicate", "release", charge(images=0))
    assert (released.kind, released.first) == ("duplicate", "release")
    assert before == await everything(redis)


async def test_a_release_before_its_reserve_arrives_keeps_it_from_holding(
    ledger: Ledger, redis: Redis
) -> None:
    await ledger.release(ORG, "given-up", RECORD)

    with pytest.raises(HoldGone):
        await ledger.reserve(ORG, "given-up", [charge(1)], [BUDGET], RECORD)
    assert (await spent_and_held(redis))[1] == [40, 4, 5, 2, 0, 0]


async def test_releasing_a_settled_hold_takes_nothing_back(ledger: Ledger, redis: Redis) -> None:
    await ledger.settle(ORG, "h1", charge(30), RECORD)

    released = await ledger.release(ORG, "h1", RECORD)

    assert (released.kind, released.first, released.charge) == ("duplicate", "commit", charge(30))
    assert (await spent_and_held(redis))[0] == [30, 0, 0, 1, 0, 0]


async def lose_counters_and_holds(redis: Redis) -> None:
    """What a replica lacks that took over too early; the ledger itself is there."""
    keys = [str(key) for key in await redis.keys(f"eg:{{{ORG}}}:*")]
    await redis.delete(*(key for key in keys if not key.endswith((":meta", ":journal"))))


async def test_a_hold_that_the_store_lost_is_charged_as_an_orphan(ledger: Ledger, redis: Redis) -> None:
    await lose_counters_and_holds(redis)

    settled = await ledger.settle(ORG, "h1", charge(30, 3, 4, 1), ACTUAL_RECORD, [BUDGET, HIGH])
    again = await ledger.settle(ORG, "h1", charge(30, 3, 4, 1), ACTUAL_RECORD, [BUDGET, HIGH])

    assert (settled.kind, settled.charge) == ("orphan", charge(30, 3, 4, 1))
    assert (again.kind, again.first) == ("duplicate", "orphan")
    assert await spent_and_held(redis) == ([30, 3, 4, 1, 0, 0], [0] * 6)
    assert posted(await journal(redis), HIGH) == [60, 6, 8, 1, 0, 0]
    assert all(ttl > HOUR_MS for ttl in [await redis.pttl(key) for key in await counter_keys(redis)])


async def test_an_orphan_without_counters_is_journaled_all_the_same(ledger: Ledger, redis: Redis) -> None:
    await lose_counters_and_holds(redis)

    settled = await ledger.settle(ORG, "h1", charge(30), ACTUAL_RECORD)

    (entry,) = await journal(redis)
    assert (settled.kind, entry["kind"], entry["counters"], entry["record"]) == (
        "orphan",
        "orphan",
        "[]",
        ACTUAL_RECORD,
    )


async def test_what_is_held_never_falls_below_zero(ledger: Ledger, redis: Redis) -> None:
    for key in await counter_keys(redis):
        await redis.delete(key)

    await ledger.settle(ORG, "h1", charge(30), RECORD)

    assert await spent_and_held(redis) == ([30, 0, 0, 1, 0, 0], [0] * 6)


async def test_a_charge_stays_in_the_bucket_of_its_reserve(ledger: Ledger, redis: Redis) -> None:
    boundary = now_ms() + 150
    day = counter(
        "day",
        energy=10,
        buckets=(Bucket(boundary - HOUR_MS, boundary), Bucket(boundary, boundary + HOUR_MS)),
    )
    await ledger.reserve(ORG, "h2", [charge(6)], [day], RECORD)
    await asyncio.sleep(0.2)

    await ledger.settle(ORG, "h2", charge(5), RECORD)
    (balance,) = await ledger.balances(ORG, [day])

    assert (await stored(redis, day))["s1"] == 5
    assert (balance.bucket, balance.used[Dimension.ENERGY], balance.held[Dimension.ENERGY]) == (
        day.next,
        0,
        0,
    )


async def test_balances_tell_what_is_spent_and_held(ledger: Ledger) -> None:
    await ledger.reserve(ORG, "h2", [charge(7, 1, 1)], [BUDGET], RECORD)
    await ledger.settle(ORG, "h2", charge(5, 2, 3), RECORD)

    month, high, empty = await ledger.balances(ORG, [BUDGET, HIGH, counter("new", water=1)])

    assert month.used == {"energy": 5, "water": 2, "carbon": 3, "images": 1, "cost": 0}
    assert month.held == {"energy": 40, "water": 4, "carbon": 5, "images": 2, "cost": 0}
    assert high.held == {"energy": 80, "water": 8, "carbon": 10, "images": 2, "cost": 0}
    assert set(empty.used.values()) == set(empty.held.values()) == {0}
    assert await ledger.balances(ORG, []) == []


async def test_a_charge_of_unknown_cost_is_counted_as_one_and_never_as_free(
    ledger: Ledger, redis: Redis
) -> None:
    budget = counter("cost")
    await ledger.reserve(ORG, "h2", [charge(1, cost=None)], [budget], RECORD)
    await ledger.reserve(ORG, "h3", [charge(1, cost=70)], [budget], RECORD)
    (before,) = await ledger.balances(ORG, [budget])
    await ledger.settle(ORG, "h2", charge(1, cost=None), RECORD)
    await ledger.settle(ORG, "h3", charge(1, cost=50), RECORD)
    (after,) = await ledger.balances(ORG, [budget])

    assert (before.held[Dimension.COST], before.unpriced) == (70, 1)
    assert (after.used[Dimension.COST], after.held[Dimension.COST], after.unpriced) == (50, 0, 1)
    assert posted(await journal(redis), budget)[4:] == [50, 1]


async def test_a_cost_that_becomes_known_after_an_expiry_is_no_longer_unknown(
    ledger: Ledger, redis: Redis
) -> None:
    budget = counter("cost")
    await ledger.reserve(ORG, "h2", [charge(1, cost=None)], [budget], RECORD)
    await ledger.dispatch(ORG, "h2", RECORD)
    await end_lease(redis, "h2")
    await ledger.expiry.due()
    (expired,) = await ledger.balances(ORG, [budget])

    settled = await ledger.settle(ORG, "h2", charge(1, cost=30), RECORD)
    (late,) = await ledger.balances(ORG, [budget])

    assert (expired.used[Dimension.COST], expired.unpriced) == (0, 1)
    assert (settled.kind, settled.charge.central.cost_uusd) == ("late", 30)
    assert (late.used[Dimension.COST], late.unpriced) == (30, 0)


@pytest.mark.parametrize("end", ["settle", "release", "expire"])
async def test_nothing_is_sent_for_a_hold_that_is_not_open(ledger: Ledger, redis: Redis, end: str) -> None:
    match end:
        case "settle":
            await ledger.settle(ORG, "h1", charge(1), RECORD)
        case "release":
            await ledger.release(ORG, "h1", RECORD)
        case _:
            await expired(ledger, redis)

    for hold_id in ("h1", "never-reserved"):
        with pytest.raises(HoldGone):
            await ledger.dispatch(ORG, hold_id, "{}")
    assert await redis.zcard(OrgKeys(ORG).open_holds) == 0


@pytest.mark.parametrize("end", ["settle", "release", "expire", "late"])
async def test_a_hold_that_ended_leaves_only_a_small_tombstone(
    ledger: Ledger, redis: Redis, end: str
) -> None:
    match end:
        case "settle":
            await ledger.settle(ORG, "h1", charge(1), RECORD)
        case "release":
            await ledger.release(ORG, "h1", RECORD)
        case _:
            await expired(ledger, redis, sent="{}")
            if end == "late":
                await ledger.settle(ORG, "h1", charge(1), RECORD)

    fields = {str(name) for name in await redis.hkeys(OrgKeys(ORG).hold("h1"))}
    small = {"state", "kind", "central", "high", "posted_central", "posted_high"}
    more = {"expire": {"counters"}, "release": set()}
    assert fields == small | more.get(end, {"known"})
    assert HOUR_MS < await redis.pttl(OrgKeys(ORG).hold("h1")) <= 2 * HOUR_MS
