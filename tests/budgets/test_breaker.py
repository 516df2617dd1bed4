"""A store that is away is asked rarely; a store that answers is never given up."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from gateway.budgets import breaker as module
from gateway.budgets.breaker import Breaker
from gateway.errors import LedgerUnavailable


async def failing(breaker: Breaker, error: Exception) -> None:
    with pytest.raises(LedgerUnavailable):
        async with breaker("reserve"):
            raise error


@pytest.mark.parametrize("error", [RedisConnectionError("gone"), TimeoutError(), OSError(5, "broken")])
async def test_failures_in_a_row_open_it_and_one_success_closes_it(error: Exception) -> None:
    breaker = Breaker(1000)
    for _ in range(module.FAILURES):
        await failing(breaker, error)

    with pytest.raises(LedgerUnavailable, match="known to be away"):
        async with breaker("reserve"):
            raise AssertionError
    await asyncio.sleep(module.OPEN_S)
    async with breaker("reserve"):
        pass
    async with breaker("reserve"):
        pass


async def test_calls_that_time_out_open_it() -> None:
    breaker = Breaker(10)

    async def slow() -> None:
        async with breaker("settle"):
            await asyncio.sleep(10)

    answers = await asyncio.gather(*(slow() for _ in range(module.FAILURES)), return_exceptions=True)

    assert {type(answer) for answer in answers} == {LedgerUnavailable}
    began = time.monotonic()
    with pytest.raises(LedgerUnavailable, match="known to be away"):
        await slow()
    assert time.monotonic() - began < 1


async def test_while_one_call_tries_the_others_are_refused() -> None:
    breaker = Breaker(5000)
    for _ in range(module.FAILURES):
        await failing(breaker, TimeoutError())
    await asyncio.sleep(module.OPEN_S)

    async with breaker("reserve"):
        with pytest.raises(LedgerUnavailable, match="known to be away"):
            async with breaker("reserve"):
                raise AssertionError


async def test_answers_of_the_store_never_open_it() -> None:
    breaker = Breaker(1000)
    for _ in range(3 * module.FAILURES):
        await failing(breaker, ResponseError("WRONGTYPE"))

    async with breaker("reserve"):
        pass


async def test_a_cancelled_try_lets_the_next_one_try() -> None:
    breaker = Breaker(1000)
    for _ in range(module.FAILURES):
        await failing(breaker, TimeoutError())
    await asyncio.sleep(module.OPEN_S)
    with pytest.raises(asyncio.CancelledError):
        async with breaker("reserve"):
            raise asyncio.CancelledError

    async with breaker("reserve"):
        pass
