"""Lua scripts, the ledger's and those of other folders: loading them, and running one within a deadline.

Invariant: whatever goes wrong between here and the store becomes LedgerUnavailable; a cancelled caller stays
cancelled. Refuses to know what the scripts mean.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, OutOfMemoryError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from importlib.resources.abc import Traversable

    from redis.asyncio import Redis

ROUNDS = 4
"""Of the event loop, from a reply in the socket to the task that waits for it."""
LUA = files("gateway.budgets") / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One verb: its whole text, and the digest by which the store knows it."""

    verb: str
    text: str
    sha: str

    @classmethod
    def load(cls, verb: str, folder: Traversable = LUA) -> Script:
        """The script in `<folder>/<verb>.lua`, with the folder's prelude put behind its `#!lua` line."""
        flags, body = (folder / f"{verb}.lua").read_text(encoding="utf-8").split("\n", 1)
        prelude = (folder / "prelude.lua").read_text(encoding="utf-8")
        text = f"{flags}\n{prelude}\n{body}"
        return cls(verb, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    async def run(self, redis: Redis, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Run by digest; a store that does not know the script (restart, SCRIPT FLUSH) gets its text."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await redis.eval(self.text, len(keys), *keys, *args)

    async def run_all(
        self, redis: Redis, calls: Sequence[tuple[Sequence[str], Sequence[str | int]]]
    ) -> list[Any]:
        """Run once per (keys, arguments), in one round trip; all keys are of one org."""
        if not calls:
            return []
        first, *rest = calls
        answers = [await self.run(redis, *first)]  # the store knows the script from here on
        async with redis.pipeline(transaction=False) as pipeline:
            for keys, args in rest:
                pipeline.evalsha(self.sha, len(keys), *keys, *args)
            answers += await pipeline.execute()
        return answers


@asynccontextmanager
async def deadline(verb: str, timeout_ms: int) -> AsyncIterator[None]:
    """Bound everything inside by `timeout_ms`, and turn the store's failures into LedgerUnavailable.

    A loop that was busy for longer than that has not looked at its sockets meanwhile: what has already come
    is read before the time counts as over.
    """
    try:
        async with asyncio.timeout(None) as scope:
            patience = _Patience(scope, timeout_ms / 1000)
            try:
                yield
            finally:
                patience.cancel()
    except OutOfMemoryError as error:
        msg = f"{verb}: the budget store is full"
        raise LedgerUnavailable(msg) from error
    except (TimeoutError, RedisError, RedisClusterException, OSError) as error:
        if isinstance(error, TimeoutError | RedisTimeoutError):
            msg = f"{verb}: the budget store did not answer within {timeout_ms} ms"
        else:
            msg = f"{verb}: the budget store failed: {type(error).__name__}: {error}"
        raise LedgerUnavailable(msg) from error


class _Patience:
    """Ends a scope some time later and `ROUNDS` rounds of the loop after that, unless it is cancelled."""

    def __init__(self, scope: asyncio.Timeout, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope = scope
        self._handle: asyncio.Handle = self._loop.call_later(seconds, self._wait, ROUNDS)

    def cancel(self) -> None:
        self._handle.cancel()

    def _wait(self, rounds: int) -> None:
        if rounds:
            self._handle = self._loop.call_soon(self._wait, rounds - 1)
        else:
            self._scope.reschedule(self._loop.time())
