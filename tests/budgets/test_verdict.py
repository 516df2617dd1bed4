"""A dry run says what the ledger would do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.budgets.amounts import Amounts, Charge, Dimension
from gateway.budgets.counter import Bucket, Counter
from gateway.budgets.holds import Denied, Held
from gateway.budgets.ledger import Ledger
from gateway.budgets.verdict import ever_fits, first_that_fits

if TYPE_CHECKING:
    from redis.asyncio import Redis

SMALL = st.integers(0, 4)
AMOUNTS = st.builds(Amounts, SMALL, SMALL, SMALL, SMALL, st.none() | SMALL)
LIMITS = st.dictionaries(st.sampled_from(list(Dimension)), st.integers(0, 9), max_size=4)


def counter(number: int, limits: dict[Dimension, int], bound: str) -> Counter:
    now_ms = int(time.time() * 1000)
    hour = 3_600_000
    return Counter(
        id=f"b{number}|{{}}",
        budget=f"b{number}",
        scope={},
        bound="high" if bound == "high" else "central",
        limits=limits,
        current=Bucket(now_ms - hour, now_ms + hour),
        next=Bucket(now_ms + hour, now_ms + 2 * hour),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limits=st.lists(st.tuples(LIMITS, st.sampled_from(["central", "high"])), max_size=3),
    before=st.lists(AMOUNTS, max_size=3),
    asked=st.lists(st.builds(Charge, AMOUNTS, AMOUNTS), min_size=1, max_size=3),
)
async def test_the_verdict_of_a_dry_run_is_the_ledgers(
    redis: Redis,
    limits: list[tuple[dict[Dimension, int], str]],
    before: list[Amounts],
    asked: list[Charge],
) -> None:
    await redis.flushall()
    ledger = Ledger(redis, lease_s=60, timeout_ms=2000)
    counters = [counter(number, *given) for number, given in enumerate(limits)]
    for number, amounts in enumerate(before):
        unlimited = [counter(at, {}, bound) for at, (_, bound) in enumerate(limits)]
        await ledger.reserve("acme", f"before{number}", [Charge(amounts, amounts)], unlimited, "{}")
        if number % 2:
            await ledger.settle("acme", f"before{number}", Charge(amounts, amounts), "{}")

    balances = await ledger.balances("acme", counters)
    expected, ever = first_that_fits(asked, balances), ever_fits(asked, balances)
    verdict = await ledger.reserve("acme", "h", asked, counters, "{}")

    if isinstance(verdict, Held):
        assert expected == verdict.candidate
        assert ever
    else:
        assert isinstance(verdict, Denied)
        assert expected == list(verdict.rows)
        for number in range(0, len(before), 2):
            await ledger.release("acme", f"before{number}", "{}")
        assert isinstance(await ledger.reserve("acme", "later", asked, counters, "{}"), Held) == ever


async def test_what_only_holds_keep_out_fits_one_day_and_what_was_used_up_does_not(redis: Redis) -> None:
    ledger = Ledger(redis, lease_s=60, timeout_ms=2000)
    two = [counter(0, {Dimension.IMAGES: 2}, "central")]
    one_image = [Charge(Amounts(0, 0, 0, 1, None), Amounts(0, 0, 0, 1, None))]
    for hold in ("h1", "h2"):
        await ledger.reserve("acme", hold, one_image, two, "{}")

    assert ever_fits(one_image, await ledger.balances("acme", two))
    for hold in ("h1", "h2"):
        await ledger.settle("acme", hold, one_image[0], "{}")
    assert not ever_fits(one_image, await ledger.balances("acme", two))
