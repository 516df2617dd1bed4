"""What reaches the queue of alerts: once for each threshold, window, subject and limit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.budgets.alerts import Alert, AlertQueue
from gateway.budgets.amounts import Dimension
from gateway.budgets.holds import Denied, Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.wire import OrgKeys
from tests.budgets.ledger_builders import (
    NEXT_HOUR,
    ORG,
    RECORD,
    charge,
    counter,
    end_lease,
    everything,
    now_ms,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.budgets.counter import Counter

BUDGET = replace(counter(images=100, scope={"team": "design"}), alert_at=(50, 80))
THE_MARKS = [("50", 100), ("80", 100)]


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, lease_s=60, timeout_ms=5000)


@pytest.fixture
def queue(redis: Redis) -> AlertQueue:
    return AlertQueue(redis, timeout_ms=5000)


async def spend(ledger: Ledger, hold: str, images: int, *counters: Counter) -> None:
    answer = await ledger.reserve(ORG, hold, [charge(images=images)], counters or [BUDGET], RECORD)
    assert isinstance(answer, Held)
    await ledger.settle(ORG, hold, charge(images=images), RECORD, answer.counters)


async def queued(queue: AlertQueue) -> list[Alert]:
    claimed = await queue.claim(ORG, lease_ms=0, most=1000)
    return sorted((one.alert for one in claimed), key=lambda alert: (alert.starts, alert.name))


def marks(alerts: list[Alert]) -> list[tuple[str, int]]:
    return [(alert.name, int(alert.limit)) for alert in alerts]


async def test_a_hundred_parallel_crossers_alert_once_per_threshold(
    ledger: Ledger, queue: AlertQueue
) -> None:
    await asyncio.gather(*(spend(ledger, f"h{n}", 1) for n in range(100)))

    alerts = await queued(queue)

    assert marks(alerts) == THE_MARKS
    assert [int(alert.used) for alert in alerts] == [50, 80]
    first = alerts[0]
    assert (first.budget, first.scope, first.dimension) == ("month", {"team": "design"}, Dimension.IMAGES)
    assert (int(first.starts), int(first.ends)) == (BUDGET.current.start_ms, BUDGET.current.end_ms)
    assert abs(int(first.at) - now_ms()) < 60_000


async def test_each_subject_has_its_own_thresholds(ledger: Ledger, queue: AlertQueue) -> None:
    other = replace(BUDGET, id='month|{"team":"film"}', scope={"team": "film"})
    await spend(ledger, "h1", 50)
    await spend(ledger, "h2", 50, other)

    assert sorted(alert.scope["team"] for alert in await queued(queue)) == ["design", "film"]


async def test_a_threshold_is_reached_exactly_at_its_amount(ledger: Ledger, queue: AlertQueue) -> None:
    odd = replace(counter(images=7), alert_at=(50,))  # half of it is 3.5
    await spend(ledger, "h1", 3, odd)
    assert await queued(queue) == []

    await spend(ledger, "h2", 1, odd)
    assert marks(await queued(queue)) == [("50", 7)]


async def test_one_charge_over_two_thresholds_alerts_of_both(ledger: Ledger, queue: AlertQueue) -> None:
    await spend(ledger, "h1", 90)

    assert marks(await queued(queue)) == THE_MARKS


async def test_what_is_only_held_or_was_released_alerts_nobody(ledger: Ledger, queue: AlertQueue) -> None:
    await ledger.reserve(ORG, "h1", [charge(images=90)], [BUDGET], RECORD)
    await ledger.release(ORG, "h1", RECORD)
    await ledger.reserve(ORG, "h2", [charge(images=90)], [BUDGET], RECORD)

    assert await queued(queue) == []


async def test_the_next_window_alerts_again(ledger: Ledger, queue: AlertQueue) -> None:
    await spend(ledger, "h1", 90)
    before = replace(BUDGET.current, start_ms=BUDGET.current.start_ms - 1)
    await spend(ledger, "h2", 90, replace(BUDGET, current=before, next=NEXT_HOUR))

    alerts = await queued(queue)

    assert marks(alerts) == THE_MARKS * 2
    assert len({alert.id(ORG) for alert in alerts}) == 4


async def test_a_raised_limit_alerts_again_at_its_own_amounts(ledger: Ledger, queue: AlertQueue) -> None:
    await spend(ledger, "h1", 60)
    raised = replace(BUDGET, limits={Dimension.IMAGES: 200})
    await spend(ledger, "h2", 39, raised)
    assert marks(await queued(queue)) == [("50", 100)]

    await spend(ledger, "h3", 1, raised)
    assert marks(await queued(queue)) == [("50", 100), ("50", 200)]

    await spend(ledger, "h4", 1, raised)
    assert len(await queued(queue)) == 2


async def test_a_limit_that_falls_below_what_is_used_alerts_with_the_next_charge(
    ledger: Ledger, queue: AlertQueue
) -> None:
    await spend(ledger, "h1", 30)
    await spend(ledger, "h2", 1, replace(BUDGET, limits={Dimension.IMAGES: 40}))

    assert marks(await queued(queue)) == [("50", 40)]


async def test_expired_and_late_and_orphaned_charges_alert_too(
    ledger: Ledger, redis: Redis, queue: AlertQueue
) -> None:
    held = await ledger.reserve(ORG, "h1", [charge(images=50)], [BUDGET], RECORD)
    assert isinstance(held, Held)
    await ledger.dispatch(ORG, "h1", RECORD)
    await end_lease(redis, "h1")
    await ledger.expiry.due()
    assert marks(await queued(queue)) == [("50", 100)]

    await ledger.settle(ORG, "h1", charge(images=80), RECORD, held.counters)
    assert marks(await queued(queue)) == THE_MARKS

    high = replace(counter("high", images=10), alert_at=(100,))
    await ledger.reserve(ORG, "h2", [charge(images=1)], [high], RECORD)
    await redis.delete("eg:{acme}:h:h2")
    await ledger.settle(ORG, "h2", charge(images=10), RECORD, [high])
    assert ("100", 10) in marks(await queued(queue))


async def test_a_budget_without_alerts_leaves_no_trace(ledger: Ledger, redis: Redis) -> None:
    await spend(ledger, "h1", 100, counter(images=100))

    assert not [key for key in await everything(redis) if "alerts" in key]
    assert await redis.hget((await redis.keys("eg:{acme}:c:*"))[0], "marks") is None


async def refuse(ledger: Ledger, hold: str, images: int, *counters: Counter) -> None:
    answer = await ledger.reserve(ORG, hold, [charge(images=images)], counters or [BUDGET], RECORD)
    assert isinstance(answer, Denied)
    await ledger.refused(ORG, hold, RECORD, answer.rows)


async def test_the_first_refusal_of_a_window_alerts_once(ledger: Ledger, queue: AlertQueue) -> None:
    silent = replace(BUDGET, alert_at=())
    await spend(ledger, "h0", 100, silent)
    await asyncio.gather(*(refuse(ledger, f"h{n}", 1, silent) for n in range(1, 51)))

    (alert,) = await queued(queue)
    assert (alert.name, alert.used, alert.held, alert.limit) == ("exceeded", "100", "0", "100")

    await refuse(ledger, "larger", 101, silent)
    assert [name for name, _ in marks(await queued(queue))] == ["exceeded", "toolarge"]


async def test_room_that_requests_in_progress_hold_is_no_refusal_to_alert_of(
    ledger: Ledger, queue: AlertQueue
) -> None:
    await ledger.reserve(ORG, "h1", [charge(images=100)], [BUDGET], RECORD)
    await refuse(ledger, "h2", 1)

    assert await queued(queue) == []


async def test_a_refusal_changes_no_amount_and_its_note_outlives_the_window(
    ledger: Ledger, redis: Redis
) -> None:
    await refuse(ledger, "h1", 101)

    (key,) = await redis.keys("eg:{acme}:c:*")
    assert set(await redis.hgetall(key)) == {"alerted:4:toolarge:100"}
    assert await redis.pexpiretime(str(key)) > BUDGET.current.end_ms


async def test_a_budget_that_does_not_enforce_alerts_when_it_is_over_its_limit(
    ledger: Ledger, queue: AlertQueue
) -> None:
    shadow = replace(BUDGET, enforced=False, alert_at=())
    await spend(ledger, "h1", 100, shadow)
    assert await queued(queue) == []

    await spend(ledger, "h2", 1, shadow)
    await spend(ledger, "h3", 1, shadow)
    assert marks(await queued(queue)) == [("over", 100)]


ROLLING = replace(BUDGET, trail=2)


async def before_now(redis: Redis, **fields: int | str) -> None:
    """What the rolling budget has in the bucket before the one in force."""
    start_ms = ROLLING.current.start_ms - (ROLLING.current.end_ms - ROLLING.current.start_ms)
    values: Any = fields
    await redis.hset(OrgKeys(ORG).counter_key(ROLLING.id, start_ms), mapping=values)


async def test_a_rolling_window_alerts_by_all_that_counts_in_it(
    ledger: Ledger, redis: Redis, queue: AlertQueue
) -> None:
    await before_now(redis, s4=45)
    await spend(ledger, "h1", 4, ROLLING)
    assert await queued(queue) == []

    await spend(ledger, "h2", 1, ROLLING)
    (alert,) = await queued(queue)
    assert (alert.name, alert.used) == ("50", "50")


async def test_what_a_rolling_window_was_over_before_its_owners_wanted_to_hear_is_told_with_the_next_charge(
    ledger: Ledger, redis: Redis, queue: AlertQueue
) -> None:
    await before_now(redis, s4=50)
    await spend(ledger, "h1", 1, ROLLING)
    assert marks(await queued(queue)) == [("50", 100)]

    await spend(ledger, "h2", 1, ROLLING)
    await spend(ledger, "h3", 28, ROLLING)
    assert marks(await queued(queue)) == THE_MARKS


async def test_what_is_remembered_of_rolling_windows_ends_with_their_length(
    ledger: Ledger, redis: Redis
) -> None:
    await spend(ledger, "h1", 80, ROLLING)

    key = OrgKeys(ORG).alerted
    found: Any = await redis.zrange(key, 0, -1, withscores=True)
    until = [float(score) for _, score in found]
    length_ms = 2 * (ROLLING.current.end_ms - ROLLING.current.start_ms)
    assert len(until) == 2
    assert all(abs(end_ms - length_ms - now_ms()) < 60_000 for end_ms in until)
    assert await redis.pexpiretime(key) == max(until)


async def test_a_claimed_alert_is_nobody_elses_until_its_lease_ends(
    ledger: Ledger, queue: AlertQueue
) -> None:
    await spend(ledger, "h1", 50)

    (mine,) = await queue.claim(ORG, lease_ms=300, most=10)
    assert await queue.claim(ORG, lease_ms=300, most=10) == []
    await asyncio.sleep(0.35)
    assert await queue.claim(ORG, lease_ms=300, most=10) == [mine]

    await queue.done(ORG, mine.text)
    await asyncio.sleep(0.35)
    assert await queue.claim(ORG, lease_ms=300, most=10) == []


async def test_an_alert_that_nobody_can_read_holds_up_nothing(queue: AlertQueue, redis: Redis) -> None:
    await redis.zadd("eg:{acme}:alerts", {"[1]": 1, "nonsense": 2})

    assert await queue.claim(ORG, lease_ms=0, most=10) == []
    assert await redis.zcard("eg:{acme}:alerts") == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 12), st.sampled_from([10, 12, 20, 33])),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.integers(1, 100), max_size=3, unique=True),
)
async def test_a_mark_is_alerted_if_and_only_if_a_charge_left_the_counter_at_or_over_it(
    ledger: Ledger, redis: Redis, queue: AlertQueue, steps: list[tuple[int, int, int]], percentages: list[int]
) -> None:
    await redis.flushall()
    fresh = Ledger(redis, lease_s=60, timeout_ms=5000)
    spent, expected = 0, set()
    for number, (reserved, actual, limit) in enumerate(steps):
        budget = replace(counter(images=limit), alert_at=tuple(percentages))
        answer = await fresh.reserve(ORG, f"h{number}", [charge(images=reserved)], [budget], RECORD)
        if not isinstance(answer, Held):
            continue
        await fresh.settle(ORG, f"h{number}", charge(images=actual), RECORD, answer.counters)
        spent += actual
        expected |= {(str(p), limit) for p in percentages if 100 * spent >= p * limit}

    assert sorted(marks(await queued(queue))) == sorted(expected)
