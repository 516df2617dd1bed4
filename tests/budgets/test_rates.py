"""Requests per minute, counted by the real script; its clock is bent where minutes have to pass."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis as BlockingRedis

from gateway.budgets.rates import Rates
from gateway.budgets.scripts import Script
from gateway.identity.subject import Role, Subject
from gateway.store.connection import connect
from gateway.store.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis.asyncio import Redis

MINUTE_US = 60_000_000
START_US = 4_000_000_000_000_000
"""Far ahead: the store forgets by its own clock."""
BENT = Script.load("rate").text.replace("redis.call('TIME')", "{ ARGV[2], ARGV[3] }")
GAPS = st.lists(st.one_of(st.integers(0, 5_000_000), st.integers(0, MINUTE_US), st.just(0)), max_size=60)


def subject(key: str = "key_a", org: str = "acme", per_minute: int | None = None) -> Subject:
    return Subject(org=org, key=key, role=Role.MEMBER, requests_per_minute=per_minute)


def rates(redis: Redis, per_minute: int | None, timeout_ms: int = 5000) -> tuple[Rates, list[str]]:
    noted: list[str] = []
    return Rates(redis, timeout_ms, per_minute, noted.append), noted


@pytest.fixture(scope="module")
def server(valkey: EmbeddedValkey) -> Iterator[BlockingRedis]:
    with BlockingRedis.from_url(valkey.url) as client:
        yield client


async def test_a_minutes_worth_passes_and_the_next_is_told_how_long_to_wait(redis: Redis) -> None:
    limits, noted = rates(redis, 3)

    standings = [await limits.take(subject()) for _ in range(5)]

    assert [(one.limit, one.remaining, one.wait_ms > 0) for one in standings if one] == [
        (3, 2, False),
        (3, 1, False),
        (3, 0, False),
        (3, 0, True),
        (3, 0, True),
    ]
    assert noted == ["passed"] * 3 + ["refused"] * 2
    waiting = standings[-1]
    assert waiting is not None
    assert waiting.wait_ms <= 20_000 < waiting.reset_ms <= 60_000


async def test_all_gateways_count_together_and_every_key_for_itself(redis: Redis, redis_url: str) -> None:
    other = connect(redis_url, timeout_ms=5000)
    try:
        here, there = rates(redis, 4)[0], rates(other, 4)[0]
        who = [subject(), subject(key="key_b"), subject(org="globex")]
        standings = await asyncio.gather(
            *(limits.take(one) for _ in range(9) for one in who for limits in (here, there))
        )
    finally:
        await other.aclose()

    passed = [one for one in standings if one is not None and not one.wait_ms]
    assert len(passed) == 3 * 4


async def test_a_keys_own_limit_replaces_the_general_one_and_0_frees_it(redis: Redis) -> None:
    limits, noted = rates(redis, 3)

    own = await limits.take(subject(per_minute=7))
    free = [await limits.take(subject(key="key_free", per_minute=0)) for _ in range(5)]

    assert own is not None
    assert own.limit == 7
    assert free == [None] * 5
    assert await rates(redis, None)[0].take(subject()) is None
    assert noted == ["passed"]


async def test_a_lower_limit_counts_at_once_and_keeps_nobody_out_for_longer_than_its_own(
    redis: Redis,
) -> None:
    many, few = rates(redis, 60)[0], rates(redis, 2)[0]
    for _ in range(60):
        await many.take(subject())

    standing = await few.take(subject())

    assert standing is not None
    assert 0 < standing.wait_ms <= 30_000


async def test_what_is_counted_is_forgotten_when_it_no_longer_matters(redis: Redis) -> None:
    await rates(redis, 3)[0].take(subject())

    (key,) = await redis.keys("*")
    assert key == "eg:{acme}:rate:key_a"
    assert 0 < await redis.pttl(key) <= 20_001


async def test_without_the_store_nobody_is_counted_and_it_is_said(tmp_path: Path) -> None:
    with EmbeddedValkey.start(tmp_path) as store:
        redis = connect(store.url, timeout_ms=100)
        limits, noted = rates(redis, 1, timeout_ms=100)
        assert await limits.take(subject()) is not None
        pid = int((await redis.info("server"))["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            assert [await limits.take(subject()) for _ in range(7)] == [None] * 7
        finally:
            os.kill(pid, signal.SIGCONT)
        await redis.aclose()

    assert noted == ["passed"] + ["uncounted"] * 7


@settings(max_examples=60, deadline=None)
@given(per_minute=st.one_of(st.integers(1, 12), st.integers(1, 60_000)), gaps_us=GAPS)
def test_who_sends_less_than_the_limit_passes_and_nobody_passes_faster(
    server: BlockingRedis, per_minute: int, gaps_us: list[int]
) -> None:
    server.flushall()
    each_us, now_us, passed = -(-MINUTE_US // per_minute), START_US, list[int]()
    for gap_us in gaps_us:
        now_us += gap_us
        wait_us = ask(server, per_minute, now_us)
        lately = [at for at in passed if at > now_us - each_us * per_minute]
        assert wait_us == 0 or len(lately) >= per_minute
        if wait_us > 1:
            assert ask(server, per_minute, now_us + wait_us - 1) == 1
        if wait_us:
            now_us += wait_us
            assert ask(server, per_minute, now_us) == 0
        passed.append(now_us)
    for n, first in enumerate(passed):
        for m, last in enumerate(passed[n:], start=1):
            assert m <= per_minute + (last - first) // each_us


def ask(redis: BlockingRedis, per_minute: int, now_us: int) -> int:
    """How many microseconds a request at that time is told to wait."""
    answer = redis.eval(BENT, 1, "rate", per_minute, now_us // 1_000_000, now_us % 1_000_000)
    assert isinstance(answer, list)
    passed, _, reset_us, wait_us = answer
    assert (passed == 1) == (wait_us == 0)
    assert 0 <= reset_us <= -(-MINUTE_US // per_minute) * per_minute
    return int(wait_us)
