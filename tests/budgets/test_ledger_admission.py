"""Admission in time and in a crowd: replays, windows, and many requests at once."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.amounts import Dimension
from gateway.budgets.counter import Bucket
from gateway.budgets.holds import Held
from gateway.errors import HoldGone, LedgerUnavailable, WindowMoved
from tests.budgets.ledger_builders import (
    HOUR_MS,
    ORG,
    RECORD,
    charge,
    counter,
    counter_keys,
    end_lease,
    held,
    now_ms,
    stored,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.budgets.ledger import Ledger


async def test_a_request_that_fits_is_held_in_every_dimension(ledger: Ledger, redis: Redis) -> None:
    budget = counter(energy=100, water=50)

    answer = await held(ledger, "h1", charge(60, 20, 7, 2, cost=30), budget)

    assert (answer.candidate, answer.replay) == (0, False)
    assert {room.dimension: room.available for room in answer.available} == {"energy": 40, "water": 30}
    assert await stored(redis, budget) == {
        "s1": 0,
        "s2": 0,
        "s3": 0,
        "s4": 0,
        "s5": 0,
        "s6": 0,
        "h1": 60,
        "h2": 20,
        "h3": 7,
        "h4": 2,
        "h5": 30,
        "h6": 0,
    }


async def test_a_replayed_reserve_answers_the_same_and_holds_once(ledger: Ledger, redis: Redis) -> None:
    budget = counter(energy=10)
    first = await ledger.reserve(ORG, "h1", [charge(20), charge(6)], [budget], RECORD)
    await held(ledger, "h2", charge(1), budget)

    again = await ledger.reserve(ORG, "h1", [charge(20), charge(6)], [budget], RECORD)

    assert isinstance(first, Held)
    assert isinstance(again, Held)
    assert again.replay
    assert (first.candidate, first.counters, first.available) == (
        again.candidate,
        again.counters,
        again.available,
    )
    assert (await stored(redis, budget))["h1"] == 7


async def test_a_replay_keeps_its_bucket_after_the_window_moved(ledger: Ledger) -> None:
    now = now_ms()
    before = counter(energy=10, buckets=(Bucket(now - HOUR_MS, now + 150), Bucket(now + 150, now + HOUR_MS)))
    first = await held(ledger, "h1", charge(6), before)
    await asyncio.sleep(0.2)
    after = counter(energy=10, buckets=(before.next, Bucket(now + HOUR_MS, now + 2 * HOUR_MS)))

    again = await held(ledger, "h1", charge(6), after)

    assert again.replay
    assert before.current == first.counters[0].current == again.counters[0].current


async def test_a_hold_id_cannot_be_used_for_another_request(ledger: Ledger) -> None:
    await held(ledger, "h1", charge(6), counter(energy=10))

    with pytest.raises(ValueError, match="belongs to another request"):
        await ledger.reserve(ORG, "h1", [charge(7)], [counter(energy=10)], RECORD)


@pytest.mark.parametrize("end", ["settle", "release", "expire"])
async def test_a_hold_that_ended_is_not_reserved_again(ledger: Ledger, redis: Redis, end: str) -> None:
    budget = counter(energy=10)
    await held(ledger, "h1", charge(6), budget)
    match end:
        case "settle":
            await ledger.settle(ORG, "h1", charge(6), RECORD)
        case "release":
            await ledger.release(ORG, "h1", RECORD)
        case _:
            await end_lease(redis, "h1")
            await ledger.expiry.due()

    with pytest.raises(HoldGone):
        await ledger.reserve(ORG, "h1", [charge(6)], [budget], RECORD)
    assert (await stored(redis, budget))["h1"] == 0


@pytest.mark.parametrize(("offset_ms", "chosen"), [(1000, "current"), (0, "next"), (-1000, "next")])
async def test_the_bucket_is_chosen_by_the_stores_time(
    ledger: Ledger, redis: Redis, offset_ms: int, chosen: str
) -> None:
    boundary = now_ms() + offset_ms
    budget = counter(
        energy=10, buckets=(Bucket(boundary - HOUR_MS, boundary), Bucket(boundary, boundary + HOUR_MS))
    )

    answer = await held(ledger, "h1", charge(6), budget)

    expected = {"current": budget.current, "next": budget.next}[chosen]
    assert expected == answer.counters[0].current
    (balance,) = await ledger.balances(ORG, [budget])
    assert (expected, 6) == (balance.bucket, balance.held[Dimension.ENERGY])


@pytest.mark.parametrize("shift_ms", [-3 * HOUR_MS, HOUR_MS])
async def test_a_time_in_neither_bucket_asks_for_new_buckets(
    ledger: Ledger, redis: Redis, shift_ms: int
) -> None:
    start = now_ms() + shift_ms
    budget = counter(
        energy=10,
        buckets=(Bucket(start, start + HOUR_MS), Bucket(start + HOUR_MS, start + 2 * HOUR_MS)),
    )

    with pytest.raises(WindowMoved) as moved:
        await ledger.reserve(ORG, "h1", [charge(1)], [budget], RECORD)
    with pytest.raises(WindowMoved):
        await ledger.balances(ORG, [budget])

    assert abs(moved.value.now_ms - now_ms()) < 2000
    assert await redis.keys("eg:{acme}:h:*") == []


async def test_a_clock_that_goes_back_admits_nothing(ledger: Ledger, redis: Redis) -> None:
    budget = counter(energy=10)
    await held(ledger, "h1", charge(1), budget)

    await redis.hset("eg:{acme}:meta", "t", str(now_ms() + 1500))
    await held(ledger, "h2", charge(1), budget)
    await redis.hset("eg:{acme}:meta", "t", str(now_ms() + 5000))
    with pytest.raises(LedgerUnavailable, match="clock went back"):
        await ledger.reserve(ORG, "h3", [charge(1)], [budget], RECORD)


async def test_a_counter_outlives_its_bucket(ledger: Ledger, redis: Redis) -> None:
    budget = counter(energy=10)
    await held(ledger, "h1", charge(1), budget)

    (key,) = await counter_keys(redis)
    assert budget.current.end_ms + 3 * HOUR_MS == await redis.pexpiretime(key)


async def test_a_hundred_at_once_admit_exactly_the_limit(ledger: Ledger, redis: Redis) -> None:
    budget, team = counter(energy=50), counter("team", scope={"team": "a"}, images=1000)

    answers = await asyncio.gather(
        *(ledger.reserve(ORG, f"h{n}", [charge(5)], [budget, team], RECORD) for n in range(100))
    )

    assert sum(isinstance(answer, Held) for answer in answers) == 10
    assert ((await stored(redis, budget))["h1"], (await stored(redis, team))["h4"]) == (50, 10)


RESERVE_FIFTY = """
import asyncio, sys
from gateway.budgets.holds import Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.scripts import Script
from gateway.store.connection import connect
from tests.budgets.ledger_builders import Bucket, charge, counter

async def main(url, name, start):
    buckets = (Bucket(start, start + 3600000), Bucket(start + 3600000, start + 7200000))
    redis = connect(url, timeout_ms=5000)
    ledger = Ledger(redis, lease_s=60, timeout_ms=5000)
    await redis.incr("ready")
    while int(await redis.get("ready")) < 2:
        await asyncio.sleep(0.001)
    budget = counter(energy=50, buckets=buckets)
    answers = await asyncio.gather(
        *(ledger.reserve("acme", f"{name}{n}", [charge(5)], [budget], "{}") for n in range(50))
    )
    print(sum(isinstance(answer, Held) for answer in answers))
    await redis.aclose()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def test_two_processes_together_admit_exactly_the_limit(redis: Redis, redis_url: str) -> None:
    start = str(now_ms() - HOUR_MS // 2)
    gateways = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RESERVE_FIFTY, redis_url, name, start),
            stdout=asyncio.subprocess.PIPE,
        )
        for name in ("a", "b")
    ]
    admitted = [int((await gateway.communicate())[0]) for gateway in gateways]

    assert sum(admitted) == 10


async def test_older_policies_admit_nothing_once_newer_ones_did(ledger: Ledger, redis: Redis) -> None:
    async def ask(hold_id: str, version: str, number: int) -> object:
        call = ledger.reserve(
            ORG, hold_id, [charge(1)], [counter(energy=9)], RECORD, policies=(version, number)
        )
        return type(await call)

    assert await ask("h1", "v1", 100) is Held
    assert await ask("h2", "v2", 200) is Held
    for number in (0, 100, 199):
        with pytest.raises(LedgerUnavailable, match="newer policies"):
            await ask("h3", "v1", number)
    assert await ask("h4", "v2", 200) is Held
    assert await ask("h5", "v1", 201) is Held  # written back
    with pytest.raises(LedgerUnavailable, match="newer policies"):
        await ask("h6", "v2", 200)
