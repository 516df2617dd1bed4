"""A store that is away is asked rarely; a store that answers is never given up."""

from __future__ import annotations

import asyncio
import socket
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


async def test_the_deadline_of_a_call_begins_when_it_has_a_place() -> None:
    breaker = Breaker(300)

    async def one() -> None:
        async with breaker("reserve"):
            await asyncio.sleep(0.1)

    # One after the other they take longer than a deadline; none has to wait for it in the store's hands.
    await asyncio.gather(*(one() for _ in range(6 * module.AT_ONCE)))


async def test_who_waits_for_a_place_is_refused_when_the_store_is_away() -> None:
    breaker, asked = Breaker(100), 0

    async def one() -> None:
        nonlocal asked
        async with breaker("reserve"):
            asked += 1
            await asyncio.sleep(60)

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(one() for _ in range(1000)), return_exceptions=True)

    assert asked == module.AT_ONCE
    refused = [answer for answer in answers if isinstance(answer, LedgerUnavailable)]
    assert len(refused) == 1000
    assert sum(not answer.asked for answer in refused) == 1000 - module.AT_ONCE


async def test_a_call_that_waits_for_a_place_too_long_was_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.05)
    breaker, end = Breaker(60_000), asyncio.Event()

    async def one() -> None:
        async with breaker("reserve"):
            await end.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(module.AT_ONCE):
            group.create_task(one())
        await asyncio.sleep(0)
        with pytest.raises(LedgerUnavailable, match="no place") as refused:
            await one()
        end.set()
    assert not refused.value.asked
    await one()


async def test_an_answer_that_came_while_the_loop_was_busy_counts() -> None:
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)

    def busy() -> None:
        far.send(b"+PONG\r\n")
        time.sleep(0.2)

    async with Breaker(50)("ping"):
        asyncio.get_running_loop().call_soon(busy)
        assert await reader.readline() == b"+PONG\r\n"
    writer.close()
    await writer.wait_closed()
    far.close()
