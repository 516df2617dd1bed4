"""Short ways to say charges, counters and what the store holds, for the ledger's tests."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from gateway.budgets.amounts import FIGURES, Amounts, Charge, Dimension
from gateway.budgets.counter import Bucket, Counter
from gateway.budgets.holds import Held
from gateway.budgets.raises import Raise
from gateway.budgets.wire import OrgKeys
from gateway.store.keyspace import journal_key, org_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

    from gateway.budgets.amounts import Bound
    from gateway.budgets.ledger import Ledger

HOUR_MS = 3_600_000
ORG = "acme"
RECORD = '{"id":"r1"}'


def now_ms() -> int:
    return time.time_ns() // 1_000_000


NOW_MS = now_ms()


def granted(name: str, *, org: str = ORG, until_ms: int = NOW_MS + 10**7) -> Raise:
    """5 uWh more for everybody in the budget `month`, from the start of the tests on."""
    return Raise(
        id=name,
        org=org,
        policy="month",
        scope={},
        counter="month|{}",
        amounts={"energy": 5},
        from_ms=NOW_MS,
        until_ms=until_ms,
        author="key_root",
        reason="launch week",
    )


def amounts(
    energy: int = 0, water: int = 0, carbon: int = 0, images: int = 1, cost: int | None = 0
) -> Amounts:
    return Amounts(energy, water, carbon, images, cost)


def charge(
    energy: int = 0,
    water: int = 0,
    carbon: int = 0,
    images: int = 1,
    *,
    cost: int | None = 0,
    high: int = 2,
) -> Charge:
    """A charge whose high bound is `high` times its central one, at the same cost."""
    return Charge(
        central=Amounts(energy, water, carbon, images, cost),
        high=Amounts(high * energy, high * water, high * carbon, images, cost),
    )


BEGAN_MS = now_ms() - HOUR_MS // 2
THIS_HOUR = Bucket(BEGAN_MS, BEGAN_MS + HOUR_MS)
NEXT_HOUR = Bucket(THIS_HOUR.end_ms, THIS_HOUR.end_ms + HOUR_MS)


def counter(
    budget: str = "month",
    *,
    scope: dict[str, str] | None = None,
    bound: Bound = "central",
    buckets: tuple[Bucket, Bucket] = (THIS_HOUR, NEXT_HOUR),
    limits: Mapping[Dimension, int] | None = None,
    **named_limits: int,
) -> Counter:
    scope = scope or {}
    return Counter(
        id=f"{budget}|{json.dumps(scope, separators=(',', ':'), sort_keys=True)}",
        budget=budget,
        scope=scope,
        bound=bound,
        limits=limits or {Dimension(name): limit for name, limit in named_limits.items()},
        current=buckets[0],
        next=buckets[1],
    )


BUDGET = counter(energy=100, images=50)
HIGH = counter("high", bound="high", carbon=1000)


async def held(ledger: Ledger, hold_id: str, taken: Charge, *counters: Counter) -> Held:
    """What a reserve says that must be admitted."""
    answer = await ledger.reserve(ORG, hold_id, [taken], counters, RECORD)
    assert isinstance(answer, Held)
    return answer


async def expired(ledger: Ledger, redis: Redis, *, sent: str | None = None) -> None:
    """Let `h1` expire, after it was sent with that record or without being sent."""
    if sent is not None:
        await ledger.dispatch(ORG, "h1", sent)
    await end_lease(redis, "h1")
    assert await ledger.expiry.due() == 1


async def entries(redis: Redis, stream: str) -> list[dict[str, str]]:
    found: Any = await redis.xrange(stream)
    return [fields for _, fields in found]


async def journal(redis: Redis, org: str = ORG) -> list[dict[str, str]]:
    return await entries(redis, journal_key(org))


async def counter_keys(redis: Redis, org: str = ORG) -> list[str]:
    return [str(key) for key in await redis.keys(org_key(org, "c") + ":*")]


async def stored(redis: Redis, counter: Counter, org: str = ORG) -> dict[str, int]:
    """The fields of the counter's current bucket."""
    fields = await redis.hgetall(OrgKeys(org).counter(counter, counter.current))
    return {str(name): int(value) for name, value in fields.items()}


async def end_lease(redis: Redis, *hold_ids: str, org: str = ORG) -> None:
    """Let the leases of these holds be over."""
    for hold_id in hold_ids:
        await redis.zadd(OrgKeys(org).open_holds, {hold_id: 1}, xx=True)


async def everything(redis: Redis) -> dict[str, Any]:
    """Every key with its value, to see that nothing changed."""
    return {str(key): await redis.dump(key) for key in sorted(await redis.keys("*"))}


def posted(journaled: Sequence[dict[str, str]], counter: Counter) -> list[int]:
    """What the journal charged to the counter's current bucket, by figure."""
    total = [0] * len(FIGURES)
    for entry in journaled:
        for counter_id, start_ms, bound in json.loads(entry["counters"]):
            if (counter_id, start_ms) == (counter.id, counter.current.start_ms):
                for index, word in enumerate(entry[bound].split()):
                    total[index] += int(word)
    return total
