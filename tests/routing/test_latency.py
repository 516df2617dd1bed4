"""Durations in coarse buckets: what they say, when they say nothing, and that they are forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.latency import BOUNDS_S, ENOUGH, SLOT_S, Latencies, LatencyShare, kind_of, usual

if TYPE_CHECKING:
    from redis.asyncio import Redis

NOW = 1_800_000_000
KIND = kind_of("images.generate", n=1, quality="low", width=None, height=None, stream=False)


async def measured(redis: Redis, durations: list[float], at: int = NOW) -> None:
    one = Latencies()
    for seconds in durations:
        one.learn("a", KIND, seconds)
    await LatencyShare(redis, one).tick(["a"], at)


async def known(redis: Redis, at: int = NOW) -> tuple[Any, Any]:
    mine = Latencies()
    await LatencyShare(redis, mine).tick(["a", "b"], at)
    found = mine.usual("a", KIND)
    return found.p50_s, found.p95_s


async def test_what_one_gateway_measures_all_of_them_know(redis: Redis) -> None:
    await measured(redis, [3.0] * 12)
    await measured(redis, [3.0] * 12 + [40.0] * 2)

    median, slow = await known(redis)

    assert median == pytest.approx(4.0)
    assert slow == pytest.approx(45.25, abs=0.01)


async def test_a_few_measurements_are_no_knowledge(redis: Redis) -> None:
    await measured(redis, [3.0] * 4)
    assert await known(redis) == (None, None)

    await measured(redis, [3.0])
    assert await known(redis) == (pytest.approx(4.0), None)


async def test_what_was_measured_is_forgotten_within_the_hour(redis: Redis) -> None:
    await measured(redis, [3.0] * 40)

    assert await known(redis, NOW + SLOT_S) == (pytest.approx(4.0), pytest.approx(4.0))
    assert await known(redis, NOW + 2 * SLOT_S) == (pytest.approx(4.0), None)
    assert await known(redis, NOW + 4 * SLOT_S) == (None, None)
    assert await redis.ttl(f"eg:routing:{{deployments}}:latency:a:{NOW // SLOT_S}") > 0


async def test_newer_measurements_outweigh_older_ones(redis: Redis) -> None:
    await measured(redis, [40.0] * 30, NOW - 2 * SLOT_S)
    await measured(redis, [3.0] * 30)

    median, _ = await known(redis)

    assert median == pytest.approx(4.0)


@given(st.lists(st.floats(0.0, 10_000.0), min_size=int(ENOUGH), max_size=60))
def test_a_quantile_is_never_below_what_it_stands_for_but_for_the_longest(durations: list[float]) -> None:
    mine = Latencies()
    for seconds in durations:
        mine.learn("a", KIND, seconds)
    told = usual({bucket: float(count) for (_, _, bucket), count in mine.fresh.items()})

    assert told.p50_s is not None
    assert told.p95_s is not None
    assert told.p50_s <= told.p95_s
    assert sum(seconds <= told.p95_s for seconds in durations) >= 0.95 * len(durations) or (
        told.p95_s == BOUNDS_S[-1]
    )


@given(st.text(), st.integers(1, 10), st.none() | st.text(), st.none() | st.integers(1, 9999), st.booleans())
def test_a_kind_never_holds_a_word_of_a_client(
    wish: str, n: int, quality: str | None, width: int | None, stream: bool
) -> None:
    kind = kind_of("images.edit", n=n, quality=quality or wish, width=width, height=width, stream=stream)

    words = kind.split(" ")
    assert words[0] == "images.edit"
    assert set(words[1:]) <= {
        *("1", "few", "many", "small", "middle", "large"),
        *("low", "medium", "high", "other", "stream", "whole"),
    }
