"""Which policies are in force when gateways see files change at different times."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.budgets import editions as module
from gateway.budgets.editions import IN_FORCE, KEPT_MS, Editions
from gateway.errors import LedgerUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Gateway:
    """One that has read `version`."""

    def __init__(self, redis: Redis, *, timeout_ms: int = 5000) -> None:
        self.version, self.number = "", 0
        self.editions = Editions(redis, timeout_ms=timeout_ms, numbered=self.numbered)

    def numbered(self, version: str, number: int) -> None:
        assert version == self.version
        self.number = number

    async def read(self, version: str) -> None:
        changed = self.version not in ("", version)
        self.version = version
        await self.editions.announce(version, changed=changed)

    async def look(self) -> None:
        await self.editions.announce(self.version)


async def force(redis: Redis) -> str:
    return str(await redis.hget(IN_FORCE, "version"))


async def test_gateways_that_read_the_same_change_one_after_the_other_agree(redis: Redis) -> None:
    one, two = Gateway(redis), Gateway(redis)
    await one.read("v1")
    await two.read("v1")
    assert one.number == two.number > 0

    await one.read("v2")
    await two.look()
    assert (two.number < one.number, await force(redis)) == (True, "v2")
    await two.read("v2")
    assert one.number == two.number


async def test_policies_that_are_written_back_are_the_newest(redis: Redis) -> None:
    one, two = Gateway(redis), Gateway(redis)
    for version in ("v1", "v2"):
        await one.read(version)
        await two.read(version)
    newest = one.number

    await one.read("v1")
    await two.look()
    assert one.number > newest == two.number
    await two.read("v1")
    assert one.number == two.number


async def test_a_gateway_that_starts_with_older_files_takes_over_when_the_newer_ones_are_gone(
    redis: Redis,
) -> None:
    one, late = Gateway(redis), Gateway(redis)
    await one.read("v1")
    await one.read("v2")
    await late.read("v1")
    assert late.number < one.number

    await redis.hincrby(IN_FORCE, "announced", -KEPT_MS - 1000)
    await late.look()

    assert late.number > one.number
    await one.look()
    assert (await force(redis), one.number < late.number) == ("v1", True)


async def test_a_gateway_that_starts_with_a_text_that_is_new_takes_over(redis: Redis) -> None:
    one, new = Gateway(redis), Gateway(redis)
    await one.read("v1")
    await new.read("v2")

    await one.look()
    assert one.number < new.number


async def test_a_change_that_the_store_did_not_hear_of_is_announced_when_it_is_back(redis: Redis) -> None:
    one, other = Gateway(redis, timeout_ms=50), Gateway(redis)
    await other.read("v1")
    await other.read("v2")
    await one.read("v2")
    await redis.client_pause(300)
    with pytest.raises(LedgerUnavailable):
        await one.read("v1")
    await asyncio.sleep(0.4)

    await one.look()

    assert await force(redis) == "v1"
    await other.look()
    assert other.number < one.number


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=8),
    order=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=30),
)
async def test_whatever_they_miss_all_gateways_end_with_the_last_text_at_one_number(
    redis: Redis, texts: list[str], order: list[tuple[int, int]]
) -> None:
    """Each gateway reads later texts than before, in leaps of its own; some read none but the last."""
    await redis.flushall()
    gateways, at = [Gateway(redis) for _ in range(3)], [0, 0, 0]
    for gateway in gateways:
        await gateway.read(texts[0])
    highest = 0
    for who, leap in order:
        at[who] = min(at[who] + leap, len(texts) - 1)
        await gateways[who].read(texts[at[who]])
        number = int(await redis.hget(IN_FORCE, "number") or 0)
        assert number >= highest
        highest = number
    for gateway in gateways:
        await gateway.read(texts[-1])
    for gateway in gateways:
        await gateway.look()

    assert await force(redis) == texts[-1]
    assert len({gateway.number for gateway in gateways}) == 1


def test_announcements_come_often_enough_to_keep_policies_in_force() -> None:
    assert module.ANNOUNCE_EVERY_S * 1000 * 5 < KEPT_MS
