"""Admission: what fits is held, what does not fit changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.amounts import MAX_REQUEST, MAX_STORED, Amounts, Charge, Dimension
from gateway.budgets.holds import Denied, Held
from gateway.budgets.scripts import Script
from gateway.errors import LedgerUnavailable
from gateway.store.keyspace import ORGS
from tests.budgets.ledger_builders import (
    ORG,
    RECORD,
    charge,
    counter,
    counter_keys,
    entries,
    everything,
    held,
    journal,
    now_ms,
    stored,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from gateway.budgets.counter import Counter, Shortfall
    from gateway.budgets.ledger import Ledger


async def denied(ledger: Ledger, hold_id: str, taken: Charge, *counters: Counter) -> tuple[Shortfall, ...]:
    answer = await ledger.reserve(ORG, hold_id, [taken], counters, RECORD)
    assert isinstance(answer, Denied)
    return answer.rows


@pytest.mark.parametrize("dimension", list(Dimension))
async def test_a_limit_admits_its_exact_amount_and_not_one_more(ledger: Ledger, dimension: Dimension) -> None:
    budget = counter(limits={dimension: 10})

    def taking(amount: int) -> Charge:
        vector = Amounts(*(amount if d is dimension else 1 for d in Dimension))
        return Charge(vector, vector)

    (over,) = await denied(ledger, "over", taking(11), budget)
    assert (dimension, 10, 0, 0, 11) == (
        over.dimension,
        over.limit,
        over.used,
        over.held,
        over.requested,
    )
    await held(ledger, "below", taking(9), budget)
    await held(ledger, "exact", taking(1), budget)
    (full,) = await denied(ledger, "full", taking(1), budget)
    assert (full.held, full.requested) == (10, 1)


async def test_spent_and_held_both_count_against_the_limit(ledger: Ledger) -> None:
    budget = counter(energy=10)
    await held(ledger, "spent", charge(4), budget)
    await ledger.settle(ORG, "spent", charge(4), RECORD)
    await held(ledger, "open", charge(3), budget)

    (row,) = await denied(ledger, "over", charge(4), budget)
    answer = await held(ledger, "exact", charge(3), budget)

    assert (row.used, row.held, row.requested) == (4, 3, 4)
    assert [room.available for room in answer.available] == [0]


async def test_a_limit_of_zero_allows_nothing(ledger: Ledger) -> None:
    assert len(await denied(ledger, "h1", charge(1), counter(energy=0))) == 1


async def test_an_exceeded_dimension_does_not_refuse_a_request_that_takes_none_of_it(ledger: Ledger) -> None:
    await held(ledger, "h1", charge(10), counter(energy=10))
    lowered = counter(energy=5)

    answer = await held(ledger, "none", charge(0), lowered)
    (row,) = await denied(ledger, "some", charge(1), lowered)

    assert [room.available for room in answer.available] == [0]
    assert (row.limit, row.held) == (5, 10)


async def test_a_counter_counts_the_bound_of_its_budget(ledger: Ledger) -> None:
    central, high = counter("central", energy=100), counter("high", bound="high", energy=100)
    taken = charge(30, high=3)

    answer = await held(ledger, "h1", taken, central, high)
    rows = await denied(ledger, "h2", taken, central, high)

    assert [room.available for room in answer.available] == [70, 10]
    assert [(row.counter.budget, row.held, row.requested) for row in rows] == [("high", 90, 90)]


async def test_one_counter_without_room_leaves_all_others_untouched(ledger: Ledger, redis: Redis) -> None:
    wide, narrow = counter("wide", energy=100, images=9), counter("narrow", scope={"team": "a"}, water=5)
    await held(ledger, "h0", charge(1, 1), wide, narrow)
    before = await everything(redis)

    rows = await denied(ledger, "h1", charge(10, 5), wide, narrow)

    assert [(row.counter.budget, row.dimension) for row in rows] == [("narrow", Dimension.WATER)]
    assert before == await everything(redis)


async def test_the_first_candidate_that_fits_is_held(ledger: Ledger, redis: Redis) -> None:
    budget = counter(energy=10)

    answer = await ledger.reserve(ORG, "h1", [charge(12), charge(8), charge(1)], [budget], RECORD)

    assert isinstance(answer, Held)
    assert answer.candidate == 1
    assert (await stored(redis, budget))["h1"] == 8


async def test_a_refusal_names_every_failing_row_of_every_candidate(ledger: Ledger) -> None:
    team, org = counter("team", energy=10, water=1), counter("org", energy=11)

    answer = await ledger.reserve(ORG, "h1", [charge(12, 2), charge(11, 1)], [team, org], RECORD)

    assert isinstance(answer, Denied)
    assert [
        (r.candidate, r.counter.budget, r.dimension.value, r.limit, r.requested) for r in answer.rows
    ] == [
        (0, "team", "energy", 10, 12),
        (0, "team", "water", 1, 2),
        (0, "org", "energy", 11, 12),
        (1, "team", "energy", 10, 11),
    ]
    assert {team.current} == {row.bucket for row in answer.rows if row.counter is team}


async def test_without_budgets_nothing_is_counted_but_the_hold_stands(ledger: Ledger, redis: Redis) -> None:
    answer = await held(ledger, "h1", charge(5))
    settled = await ledger.settle(ORG, "h1", charge(5), RECORD, answer.counters)

    assert settled.kind == "commit"
    assert await counter_keys(redis) == []
    assert [entry["counters"] for entry in await journal(redis)] == ["[]"]


async def test_a_limit_that_was_lowered_changes_no_counter(ledger: Ledger, redis: Redis) -> None:
    await held(ledger, "h1", charge(8), counter(energy=10))
    lowered = counter(energy=3)
    before = await everything(redis)

    (balance,) = await ledger.balances(ORG, [lowered])
    rows = await denied(ledger, "h2", charge(1), lowered)

    assert balance.held[Dimension.ENERGY] == 8
    assert len(rows) == 1
    assert before == await everything(redis)


async def test_amounts_are_exact_up_to_the_largest_stored_value(ledger: Ledger, redis: Redis) -> None:
    budget = counter(energy=MAX_STORED)
    await held(ledger, "h0", charge(1), budget)
    (key,) = await counter_keys(redis)
    await redis.hset(key, "s1", str(MAX_STORED - 10))

    answer = await held(ledger, "h1", charge(8), budget)
    (row,) = await denied(ledger, "h2", charge(2), budget)

    assert [room.available for room in answer.available] == [1]
    assert (row.limit, row.used, row.held) == (MAX_STORED, MAX_STORED - 10, 9)
    assert str(MAX_STORED - 10) == await redis.hget(key, "s1")


async def test_no_counter_passes_what_the_store_can_count_even_without_a_limit(
    ledger: Ledger, redis: Redis
) -> None:
    budget = counter()
    await held(ledger, "h0", charge(1), budget)
    (key,) = await counter_keys(redis)
    await redis.hset(key, "s1", str(MAX_STORED - 10))

    (row,) = await denied(ledger, "h1", charge(10), budget)

    assert row.limit == MAX_STORED


@pytest.mark.parametrize("amount", [-1, MAX_REQUEST + 1])
async def test_an_amount_out_of_bounds_never_reaches_the_store(
    ledger: Ledger, redis: Redis, amount: int
) -> None:
    with pytest.raises(ValueError, match="amounts go from 0"):
        await ledger.reserve(ORG, "h1", [charge(amount, high=1)], [counter(energy=10)], RECORD)
    assert await redis.keys("*") == []


async def test_a_counter_named_twice_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="named twice"):
        await ledger.reserve(ORG, "h1", [charge(1)], [counter(energy=10), counter(energy=9)], RECORD)


async def test_orgs_do_not_share_counters(ledger: Ledger, redis: Redis) -> None:
    budget = counter(energy=10)
    await held(ledger, "h1", charge(10), budget)

    other = await ledger.reserve("globex", "h2", [charge(10)], [budget], RECORD)

    assert isinstance(other, Held)
    assert {"acme", "globex"} == await redis.smembers(ORGS)


async def test_every_key_of_an_org_shares_its_hash_tag(ledger: Ledger, redis: Redis) -> None:
    odd = "a}b{c:*"
    budget = counter(scope={"team": "x}y"}, energy=10)
    answer = await ledger.reserve(odd, "h1", [charge(10)], [budget], RECORD)
    assert isinstance(answer, Held)
    await ledger.settle(odd, "h1", charge(10), RECORD, answer.counters)
    await ledger.refused(odd, "h2", RECORD)

    keys = {str(key) for key in await redis.keys("*")} - {"eg:orgs", "eg:schema"}
    assert keys
    assert all(key.startswith("eg:{a%7Db%7Bc%3A%2A}:") for key in keys)


async def test_a_refusal_is_kept_for_review_and_counts_nothing(ledger: Ledger, redis: Redis) -> None:
    await ledger.refused(ORG, "h1", RECORD)

    (entry,) = await entries(redis, "eg:{acme}:refusals")
    assert {name: entry[name] for name in ("hold", "record")} == {"hold": "h1", "record": RECORD}
    assert abs(int(entry["at"]) - now_ms()) < 2000
    assert await redis.keys("eg:{acme}:[ch]:*") == []


async def test_refusals_that_nobody_reads_do_not_pile_up(ledger: Ledger, redis: Redis) -> None:
    refuse = Script.load("refuse")
    for n in range(400):
        await refuse.run(redis, ["eg:{acme}:refusals", "eg:{acme}:alerts"], [f"h{n}", RECORD, 100, "[]"])

    assert 100 <= await redis.xlen("eg:{acme}:refusals") <= 200


async def test_consumers_can_read_an_orgs_streams_before_anything_is_settled(
    ledger: Ledger, redis: Redis
) -> None:
    await held(ledger, "h1", charge(1))

    for stream in ("eg:{acme}:journal", "eg:{acme}:refusals"):
        (group,) = await redis.xinfo_groups(stream)
        assert group["name"] == "sql"


@pytest.mark.parametrize("verb", ["reserve", "settle", "release", "balances"])
async def test_a_store_that_lost_an_orgs_ledger_does_nothing_for_it(
    ledger: Ledger, redis: Redis, verb: str
) -> None:
    await held(ledger, "h1", charge(1))
    await redis.flushall()
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "reserve": lambda: ledger.reserve(ORG, "h2", [charge(1)], [], RECORD),
        "settle": lambda: ledger.settle(ORG, "h1", charge(1), RECORD),
        "release": lambda: ledger.release(ORG, "h1", RECORD),
        "balances": lambda: ledger.balances(ORG, [counter(energy=10)]),
    }

    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="lost the ledger of org acme"):
            await calls[verb]()
    assert await redis.keys(f"eg:{{{ORG}}}:*") == []


async def test_a_layout_of_another_version_is_refused(ledger: Ledger, redis: Redis) -> None:
    await redis.set("eg:schema", "99")

    with pytest.raises(LedgerUnavailable, match="layout 99"):
        await ledger.reserve(ORG, "h1", [charge(1)], [], RECORD)


async def test_a_counter_that_is_not_enforced_counts_and_reports_but_refuses_nothing(
    ledger: Ledger, redis: Redis
) -> None:
    watched = replace(counter("watched", images=1), enforced=False)
    firm = counter("firm", images=5)

    first = await ledger.reserve(ORG, "h1", [charge(images=1)], [watched, firm], RECORD)
    second = await ledger.reserve(ORG, "h2", [charge(images=2)], [watched, firm], RECORD)
    third = await ledger.reserve(ORG, "h3", [charge(images=3)], [watched, firm], RECORD)

    assert isinstance(first, Held)
    assert isinstance(second, Held)
    assert isinstance(third, Denied)
    assert first.exceeded == ()
    (row,) = second.exceeded
    assert (row.counter.id, row.limit, row.used, row.held, row.requested) == (watched.id, 1, 0, 1, 2)
    assert [row.counter.id for row in third.rows] == [firm.id]
    assert (await stored(redis, watched))["h4"] == 3


async def test_what_costs_nobody_knows_how_much_does_not_fit_a_limit_of_cost(ledger: Ledger) -> None:
    costly, free = counter("costly", cost=100), counter("free", energy=10)

    (row,) = await denied(ledger, "h1", charge(1, cost=None), costly, free)
    kept = await ledger.reserve(ORG, "h2", [charge(1, cost=None), charge(1, cost=100)], [costly], RECORD)

    assert (row.counter.budget, row.dimension, row.limit) == ("costly", Dimension.COST, 100)
    assert (row.used, row.held, row.requested) == (0, 0, None)
    assert isinstance(kept, Held)
    assert (kept.candidate, kept.available[0].available) == (1, 0)
    await held(ledger, "h3", charge(1, cost=None), free)


async def test_the_room_of_a_cost_is_unknown_while_the_window_has_charges_of_unknown_cost(
    ledger: Ledger,
) -> None:
    await held(ledger, "h1", charge(1, cost=None), counter())

    limited = await held(ledger, "h2", charge(1, cost=3), counter(cost=10, energy=9))

    assert {room.dimension: room.available for room in limited.available} == {"energy": 7}
