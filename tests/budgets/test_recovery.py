"""The fence around a rebuild, and what its scripts refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.budgets.recovery import began_ms, turn_at
from gateway.budgets.scripts import Script
from gateway.budgets.wire import OrgKeys
from gateway.store.keyspace import org_key
from tests.budgets.ledger_builders import ORG, THIS_HOUR, counter

if TYPE_CHECKING:
    from redis.asyncio import Redis

NAMES = OrgKeys(ORG)
FENCE = org_key(ORG, "fence")
KEY = NAMES.counter(counter(), THIS_HOUR)
LATER_MS = 4_000_000_000_000
ROW = '[[["5","0","0","1","9","0"],["2","0","0","1","0","1"]]]'


async def rebuild(redis: Redis, token: str, epoch: str = "") -> str:
    arguments: list[str | int] = [token, THIS_HOUR.end_ms + 10**9, epoch, 2000, ROW, turn_at(LATER_MS)]
    answer = await Script.load("rebuild").run(redis, [NAMES.meta, FENCE, KEY], arguments)
    return str(answer[0])


async def test_only_the_holder_of_the_fence_writes(redis: Redis) -> None:
    await redis.set(FENCE, "mine")

    assert await rebuild(redis, "theirs") == "fenced"
    assert await redis.keys(KEY) == []
    assert await rebuild(redis, "mine") == "rebuilt"
    assert (await redis.hgetall(KEY))["s1"] == "5"
    assert await redis.exists(NAMES.meta) == 0


async def test_the_last_call_opens_the_ledger_with_a_time_of_grace_and_drops_the_fence(redis: Redis) -> None:
    await redis.set(FENCE, "mine")

    assert await rebuild(redis, "mine", "e2") == "rebuilt"

    meta = await redis.hgetall(NAMES.meta)
    assert meta["epoch"] == "e2"
    assert int(meta["grace"]) > 0
    assert began_ms(str(meta["turn"])) > LATER_MS
    assert await redis.exists(FENCE) == 0


async def test_a_ledger_that_is_open_is_never_rebuilt(redis: Redis) -> None:
    await redis.set(FENCE, "mine")
    await redis.hset(NAMES.meta, "epoch", "e1")

    assert await rebuild(redis, "mine", "e2") == "known"
    assert await redis.keys(KEY) == []
