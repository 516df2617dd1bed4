"""Bounds the ledger's calls and stops calling a store that is known to be away.

Invariant: a failing store costs a request at most one deadline, and while the breaker is open nothing at all.
Answers of the store, refusals among them, never open it; who waits for a place is refused when it opens.
Refuses to know what is called.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.budgets.scripts import deadline
from gateway.errors import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FAILURES: Final = 5
OPEN_S: Final = 0.5
AT_ONCE: Final = 24
"""So many calls are in the store's hands at once; the deadline of one that waits begins when it may go."""
WAIT_S: Final = 10.0
AWAY: Final = (TimeoutError, OSError, RedisConnectionError, RedisTimeoutError, RedisClusterException)


class Breaker:
    """`async with breaker("reserve"):` bounds what is inside by `timeout_ms`.

    After `FAILURES` failures in a row, by timeout or connection, calls raise LedgerUnavailable at once for
    `OPEN_S` seconds; then one call at a time tries again.
    """

    def __init__(self, timeout_ms: int) -> None:
        self._timeout_ms = timeout_ms
        self._failures = 0
        self._closed_again = float("-inf")
        self._probing = False
        self._places = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def __call__(self, verb: str) -> AsyncIterator[None]:
        await self._enter(verb)
        try:
            async with self._bounded(verb):
                yield
        finally:
            self._places.release()

    async def _enter(self, verb: str) -> None:
        """Wait for one of the places."""
        self._refuse_if_open(verb)
        if not self._places.locked():
            await self._places.acquire()  # at once
            return
        try:
            async with asyncio.timeout(WAIT_S):
                await self._places.acquire()
        except TimeoutError as error:
            msg = f"{verb}: the budget store had no place for the call within {WAIT_S:.0f} s"
            raise LedgerUnavailable(msg, asked=False) from error

    def _refuse_if_open(self, verb: str) -> bool:
        """Whether this call is the one that tries again; raises when it is not and the breaker is open."""
        trying = self._failures >= FAILURES
        if trying and (self._probing or time.monotonic() < self._closed_again):
            msg = f"{verb}: the budget store is known to be away"
            raise LedgerUnavailable(msg, away=True, asked=False)
        return trying

    @asynccontextmanager
    async def _bounded(self, verb: str) -> AsyncIterator[None]:
        trying = self._refuse_if_open(verb)
        self._probing = self._probing or trying
        try:
            async with deadline(verb, self._timeout_ms):
                yield
            self._failures = 0
        except LedgerUnavailable as error:
            if isinstance(error.__cause__, AWAY):
                error.away = True
                self._failures += 1
                self._closed_again = time.monotonic() + OPEN_S
            raise
        finally:
            if trying:
                self._probing = False
