"""Rolling windows: the real scripts in virtual time against what the words say."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.budgets.amounts import Dimension
from gateway.budgets.audit import audit
from gateway.budgets.counter import Bucket
from gateway.budgets.holds import Denied, Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.raises import Raise, limits_with, still_to_give_back
from gateway.budgets.verdict import first_that_fits
from gateway.budgets.windows import Window, current_and_next, length_ms, moment
from gateway.budgets.wire import OrgKeys
from gateway.store.sql import open_database
from gateway.usage.archive import Archive
from tests.budgets.ledger_builders import ORG, RECORD, charge, counter, now_ms
from tests.budgets.virtual_time import set_clock, virtual_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis.asyncio import Redis

    from gateway.budgets.counter import Counter

DAY = Window("rolling", "24h")
DAY_MS = length_ms("24h")
PART_MS = DAY_MS // 24
LIMIT = 10
YEAR_S = 366 * 86_400


@pytest.fixture(autouse=True)
def bent() -> Iterator[None]:
    with virtual_time():
        yield


def rolling(at_ms: int, limit: int = LIMIT) -> Counter:
    buckets = current_and_next(DAY, "UTC", moment(at_ms))
    assert buckets is not None
    return replace(counter("day", energy=limit, buckets=buckets), trail=DAY.trail)


@given(st.integers(1, 92 * 24), st.integers(0, 2**43))
def test_the_buckets_of_a_rolling_window_cover_its_length_and_at_most_a_part_more(
    hours: int, at_ms: int
) -> None:
    window = Window("rolling", f"{hours}h")
    buckets = current_and_next(window, "Europe/Paris", moment(at_ms))
    assert buckets is not None
    one = replace(counter(buckets=buckets), trail=window.trail)

    counted = one.window(one.current)

    assert one.current.start_ms <= at_ms < one.current.end_ms == one.next.start_ms
    assert counted.end_ms - counted.start_ms == length_ms(f"{hours}h") * 25 // 24
    assert counted.start_ms <= at_ms - length_ms(f"{hours}h")
    assert one.until(one.current) - at_ms > length_ms(f"{hours}h")


class Reference:
    """What was admitted when, and what of it counts; a window of parts, each counted in full."""

    def __init__(self) -> None:
        self.admitted: dict[str, tuple[int, int]] = {}

    def counted(self, at_ms: int) -> int:
        part = at_ms // PART_MS
        return sum(amount for when, amount in self.admitted.values() if part - 24 <= when // PART_MS <= part)

    def truly(self, at_ms: int) -> int:
        return sum(amount for when, amount in self.admitted.values() if at_ms - DAY_MS < when <= at_ms)


steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1, PART_MS - 1, PART_MS, 5 * PART_MS, 23 * PART_MS, DAY_MS]),
        st.integers(1, 6),
        st.sampled_from(["hold", "settle", "less", "release", "expire"]),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, PART_MS - 1), steps=steps)
async def test_no_window_of_that_length_ever_holds_more_than_the_limit(
    redis: Redis, offset: int, steps: list[tuple[int, int, str]]
) -> None:
    await redis.flushall()
    ledger, reference = Ledger(redis, lease_s=YEAR_S, timeout_ms=5000), Reference()
    at_ms = now_ms() // PART_MS * PART_MS + offset
    for number, (later, amount, end) in enumerate(steps):
        at_ms += later
        await set_clock(redis, at_ms)
        budget, hold = rolling(at_ms), f"h{number}"
        (balance,) = await ledger.balances(ORG, [budget])
        assert balance.used[Dimension.ENERGY] + balance.held[Dimension.ENERGY] == reference.counted(at_ms)

        answer = await ledger.reserve(ORG, hold, [charge(amount)], [budget], RECORD)

        assert isinstance(answer, Held) == (reference.counted(at_ms) + amount <= LIMIT)
        if isinstance(answer, Denied):
            assert first_that_fits([charge(amount)], [balance]) == list(answer.rows)
            continue
        assert isinstance(answer, Held)
        reference.admitted[hold] = (at_ms, amount)
        assert answer.available[0].available == LIMIT - reference.counted(at_ms)
        if end in ("settle", "less"):
            taken = amount - (end == "less")
            await ledger.settle(ORG, hold, charge(taken), RECORD)
            reference.admitted[hold] = (at_ms, taken)
        elif end in ("release", "expire"):
            if end == "release":
                await ledger.release(ORG, hold, RECORD)
            else:
                await redis.zadd(OrgKeys(ORG).open_holds, {hold: at_ms - 1})
                await ledger.expiry.due()
            del reference.admitted[hold]
        assert reference.truly(at_ms) <= LIMIT
    assert all(
        sum(amount for when, amount in reference.admitted.values() if end - DAY_MS < when <= end) <= LIMIT
        for end, _ in reference.admitted.values()
    )


async def test_a_refusal_names_the_earliest_moment_at_which_the_request_fits(redis: Redis) -> None:
    ledger, start = Ledger(redis, lease_s=60, timeout_ms=5000), now_ms() // PART_MS * PART_MS
    for number, (hour, amount) in enumerate([(0, 2), (3, 4), (5, 4)]):
        await set_clock(redis, start + hour * PART_MS)
        await ledger.reserve(ORG, f"h{number}", [charge(amount)], [rolling(start + hour * PART_MS)], RECORD)
        await ledger.settle(ORG, f"h{number}", charge(amount), RECORD)
    answers = [
        await ledger.reserve(ORG, f"r{need}", [charge(need)], [rolling(start + 5 * PART_MS)], RECORD)
        for need in (2, 3, 6, 7, 10)
    ]

    resets = [answer.rows[0].resets_ms for answer in answers if isinstance(answer, Denied)]
    assert [(at - start) // PART_MS for at in resets] == [25, 28, 28, 30, 30]
    await set_clock(redis, resets[1] - 1)
    early = await ledger.reserve(ORG, "early", [charge(3)], [rolling(resets[1] - 1)], RECORD)
    await set_clock(redis, resets[1])
    in_time = await ledger.reserve(ORG, "in-time", [charge(3)], [rolling(resets[1])], RECORD)
    assert (type(early), type(in_time)) == (Denied, Held)


async def test_a_charge_stays_in_the_part_of_its_reserve(redis: Redis) -> None:
    ledger, start = Ledger(redis, lease_s=60, timeout_ms=5000), now_ms() // PART_MS * PART_MS
    await set_clock(redis, start)
    held = await ledger.reserve(ORG, "h1", [charge(LIMIT)], [rolling(start)], RECORD)
    assert isinstance(held, Held)
    await set_clock(redis, start + 3 * PART_MS)
    await ledger.settle(ORG, "h1", charge(LIMIT), RECORD, held.counters)

    await set_clock(redis, start + 25 * PART_MS - 1)
    still = await ledger.reserve(ORG, "h2", [charge(1)], [rolling(start + 25 * PART_MS - 1)], RECORD)
    await set_clock(redis, start + 25 * PART_MS)
    gone = await ledger.reserve(ORG, "h3", [charge(1)], [rolling(start + 25 * PART_MS)], RECORD)

    assert (type(still), type(gone)) == (Denied, Held)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_part_lives_until_it_has_left_every_window(redis: Redis, lost: bool) -> None:
    """Even where the store lost the hold, and the settlement alone brings the counter back."""
    ledger, start = Ledger(redis, lease_s=60, timeout_ms=5000), now_ms() // PART_MS * PART_MS
    await set_clock(redis, now_ms())
    held = await ledger.reserve(ORG, "h1", [charge(1)], [rolling(start)], RECORD)
    assert isinstance(held, Held)
    key = OrgKeys(ORG).counter(held.counters[0], held.counters[0].current)
    if lost:
        await redis.delete(key, OrgKeys(ORG).hold("h1"))
    settled = await ledger.settle(ORG, "h1", charge(1), RECORD, held.counters)

    assert settled.kind == ("orphan" if lost else "commit")
    assert await redis.pexpiretime(key) >= start + 25 * PART_MS


async def test_the_next_part_counts_the_current_one_when_the_gateways_clock_is_late(redis: Redis) -> None:
    ledger, start = Ledger(redis, lease_s=60, timeout_ms=5000), now_ms() // PART_MS * PART_MS
    await set_clock(redis, start + PART_MS - 1)
    late = rolling(start + PART_MS - 1)
    await ledger.reserve(ORG, "h1", [charge(LIMIT - 1)], [late], RECORD)
    await set_clock(redis, start + PART_MS)

    denied = await ledger.reserve(ORG, "h2", [charge(2)], [late], RECORD)
    held = await ledger.reserve(ORG, "h3", [charge(1)], [late], RECORD)

    assert isinstance(denied, Denied)
    assert isinstance(held, Held)
    assert held.counters[0].current == Bucket(start + PART_MS, start + 2 * PART_MS)


async def test_the_audit_of_rolling_counters_is_exact(redis: Redis, tmp_path: Path) -> None:
    ledger, start = Ledger(redis, lease_s=60, timeout_ms=5000), now_ms() // PART_MS * PART_MS
    for number in range(3):
        await set_clock(redis, start + number * PART_MS)
        await ledger.reserve(ORG, f"h{number}", [charge(3)], [rolling(start + number * PART_MS)], RECORD)
    await ledger.settle(ORG, "h0", charge(2), RECORD)
    database = await open_database(None, tmp_path)
    try:
        found = await audit(redis, Archive(database), ORG)
    finally:
        await database.close()

    assert (found.differences, found.counters, found.open_holds) == ((), 3, 2)


def test_a_reset_counts_less_as_its_parts_leave_the_window() -> None:
    reset = Raise(
        id="r",
        org=ORG,
        policy="day",
        scope={},
        counter="day|{}",
        amounts={"energy": 9},
        from_ms=10,
        until_ms=50,
        author="key",
        reason="why",
        kind="reset",
        leaving=[(20, {"energy": 4}), (30, {"energy": 3})],
    )

    limits = [
        limits_with({Dimension.ENERGY: 1}, (reset,), at)[Dimension.ENERGY] for at in (9, 10, 20, 30, 50)
    ]

    assert limits == [1, 10, 6, 3, 1]


async def test_an_alert_counts_what_earlier_parts_used(redis: Redis) -> None:
    ledger, start = Ledger(redis, lease_s=60, timeout_ms=5000), now_ms() // PART_MS * PART_MS
    for number, amount in enumerate((4, 2)):
        at_ms = start + number * PART_MS
        await set_clock(redis, at_ms)
        budget = replace(rolling(at_ms), alert_at=(50,))
        await ledger.reserve(ORG, f"h{number}", [charge(amount)], [budget], RECORD)
        await ledger.settle(ORG, f"h{number}", charge(amount), RECORD)
        queued = await redis.zrange(OrgKeys(ORG).alerts, 0, -1)
        assert len(queued) == number

    (alert,) = [json.loads(str(text)) for text in queued]
    assert alert[3:8] == ["1", "50", "10", "6", "0"]


async def test_another_window_starts_at_zero_but_for_parts_that_begin_where_the_old_ones_did(
    redis: Redis,
) -> None:
    ledger, start = Ledger(redis, lease_s=60, timeout_ms=5000), now_ms() // PART_MS * PART_MS
    await set_clock(redis, start + 1)
    hour, month = (
        counter("day", energy=LIMIT, buckets=buckets)
        for every in ("hour", "month")
        if (buckets := current_and_next(Window("calendar", every), "UTC", moment(start + 1))) is not None
    )
    await ledger.reserve(ORG, "h1", [charge(4)], [hour], RECORD)

    found = [
        (await ledger.balances(ORG, [one]))[0].held[Dimension.ENERGY]
        for one in (hour, month, rolling(start + 1))
    ]

    assert found == [4, 0, 4]


@given(
    used=st.lists(st.integers(0, 9), min_size=6, max_size=6),
    at=st.lists(st.integers(0, 5), min_size=1, max_size=5).map(sorted),
)
def test_resets_give_back_each_part_of_a_rolling_window_once(used: list[int], at: list[int]) -> None:
    """A window of six parts and the one in force, of which each part uses its amount at its beginning."""
    trail, granted = 6, tuple[Raise, ...]()
    for part in at:
        counted = {number: used[number] for number in range(part + 1)}
        leaving = [(10 * (number + trail + 1), {"energy": amount}) for number, amount in counted.items()]
        amounts, left = still_to_give_back(
            {"energy": sum(counted.values())}, leaving[:-1], granted, 10 * part + 1
        )
        one = Raise(
            id=f"r{len(granted)}",
            org=ORG,
            policy="day",
            scope={},
            counter="day|{}",
            amounts=amounts,
            from_ms=10 * part + 1,
            until_ms=10 * (part + trail + 1),
            author="key",
            reason="why",
            kind="reset",
            leaving=left,
        )
        granted = (*granted, one)

    for now in range(10 * at[-1] + 1, 140):
        counting = sum(used[n] for n in range(at[-1] + 1) if 10 * (n + trail + 1) > now)
        assert limits_with({Dimension.ENERGY: 1}, granted, now)[Dimension.ENERGY] == 1 + counting


WATCHED_BY = (50, 80)


async def told(redis: Redis) -> list[tuple[str, int]]:
    """What was alerted and when, the oldest first."""
    texts = [json.loads(str(text)) for text in await redis.zrange(OrgKeys(ORG).alerts, 0, -1)]
    return sorted(((alert[4], int(alert[8])) for alert in texts), key=lambda one: one[1])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    charges=st.lists(
        st.tuples(st.sampled_from([0, 1, PART_MS, 6 * PART_MS, DAY_MS - 1, DAY_MS]), st.integers(1, 6)),
        min_size=1,
        max_size=20,
    )
)
async def test_a_rolling_window_tells_of_a_mark_with_the_first_charge_that_finds_it_reached_in_each_length(
    redis: Redis, charges: list[tuple[int, int]]
) -> None:
    await redis.flushall()
    ledger, reference = Ledger(redis, lease_s=YEAR_S, timeout_ms=5000), Reference()
    at_ms = now_ms() // PART_MS * PART_MS + PART_MS // 2
    expected: list[tuple[str, int]] = []
    last: dict[int, int] = {}
    for number, (later, amount) in enumerate(charges):
        at_ms += later
        await set_clock(redis, at_ms)
        budget = replace(rolling(at_ms), alert_at=WATCHED_BY)
        held = await ledger.reserve(ORG, f"h{number}", [charge(energy=amount)], [budget], RECORD)
        if not isinstance(held, Held):
            continue
        await ledger.settle(ORG, f"h{number}", charge(energy=amount), RECORD, held.counters)
        reference.admitted[f"h{number}"] = (at_ms, amount)
        for percent in WATCHED_BY:
            reached = 100 * reference.counted(at_ms) >= percent * LIMIT
            if reached and at_ms >= last.get(percent, -DAY_MS) + DAY_MS:
                last[percent] = at_ms
                expected.append((str(percent), at_ms))

    assert sorted(await told(redis)) == sorted(expected)


async def test_a_hundred_parallel_crossers_on_two_gateways_and_in_two_parts_tell_once(redis: Redis) -> None:
    gateways = [Ledger(redis, lease_s=YEAR_S, timeout_ms=5000) for _ in range(2)]
    at_ms = now_ms() // PART_MS * PART_MS
    asked: dict[str, Held] = {}
    for part in range(2):
        await set_clock(redis, at_ms + part * PART_MS)
        budget = replace(rolling(at_ms + part * PART_MS, limit=100), alert_at=WATCHED_BY)
        for number in range(50):
            hold = f"{part}-{number}"
            held = await gateways[number % 2].reserve(ORG, hold, [charge(energy=1)], [budget], RECORD)
            assert isinstance(held, Held)
            asked[hold] = held

    async def settle(number: int, hold: str, held: Held) -> None:
        # Of both parts alternately, each by the gateway that did not admit it.
        await gateways[(number + 1) % 2].settle(ORG, hold, charge(energy=1), RECORD, held.counters)

    in_turn = sorted(asked.items(), key=lambda one: one[0].partition("-")[2])
    await asyncio.gather(*(settle(number, *one) for number, one in enumerate(in_turn)))

    # The holds of the second part were made when the first had settled nothing, so 80 is nobody's to tell.
    assert [name for name, _ in await told(redis)] == ["50"]
    assert len(asked) == 100


async def test_a_rolling_window_tells_of_its_refusals_once_in_its_length(redis: Redis) -> None:
    ledger = Ledger(redis, lease_s=YEAR_S, timeout_ms=5000)
    at_ms = now_ms() // PART_MS * PART_MS
    for hours in (0, 1, 12, 23, 24, 25, 49):
        await set_clock(redis, at_ms + hours * PART_MS)
        budget = replace(rolling(at_ms + hours * PART_MS), alert_at=())
        denied = await ledger.reserve(ORG, f"h{hours}", [charge(energy=LIMIT + 1)], [budget], RECORD)
        assert isinstance(denied, Denied)
        await asyncio.gather(*(ledger.refused(ORG, f"h{hours}-{n}", RECORD, denied.rows) for n in range(20)))

    assert await told(redis) == [("toolarge", at_ms + hours * PART_MS) for hours in (0, 24, 49)]
