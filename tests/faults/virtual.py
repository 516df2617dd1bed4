"""An event loop whose time is virtual: it jumps to the next timer as soon as nothing else is left to do.

One thread, and the same order of steps each time. Work that really takes time (SQL in a thread) is waited for
while `outside` is above zero; virtual time stands still meanwhile. Refuses to know what runs on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
import random
import secrets
import time
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest import mock

import gateway.lifecycle.admission
import gateway.lifecycle.life

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EPOCH_S = (
    4_102_444_800 - 40
)  # 40 s before 2100, in the server's future: no key of a virtual time ends in ours
SKEW_S: ContextVar[float] = ContextVar("skew", default=0.0)
"""How far the wall clock of the gateway that runs now is wrong."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`outside` counts the real work that is under way."""

    def __init__(self) -> None:
        self.now = 0.0
        self.outside = 0
        super().__init__()

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        if not self._ready and not self.outside:  # type: ignore[attr-defined]
            while timers and timers[0].cancelled():
                heapq.heappop(timers)._scheduled = False  # type: ignore[attr-defined]
            if timers:
                self.now = max(self.now, timers[0].when())
        super()._run_once()  # type: ignore[misc]

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """At once: what writes to disk takes no virtual time."""

        async def at_once() -> Any:
            return func(*args)

        return self.create_task(at_once())


@contextlib.contextmanager
def virtual_clocks(loop: VirtualLoop, chance: random.Random) -> Iterator[None]:
    """Every clock and source of randomness in this process is that of the simulation."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            return cls.fromtimestamp(wall(), tz or UTC)

    def wall() -> float:
        return EPOCH_S + loop.now + SKEW_S.get()

    def wall_ns() -> int:
        return int(wall() * 1e9)

    def token_hex(size: int) -> str:
        return chance.randbytes(size).hex()

    def uuid4() -> uuid.UUID:
        return uuid.UUID(bytes=chance.randbytes(16), version=4)

    random.seed(chance.random())
    with (
        mock.patch.object(time, "time", wall),
        mock.patch.object(time, "time_ns", wall_ns),
        mock.patch.object(time, "monotonic", loop.time),
        mock.patch.object(secrets, "token_hex", token_hex),
        mock.patch.object(uuid, "uuid4", uuid4),
        mock.patch.object(os, "fsync"),
        mock.patch.object(gateway.lifecycle.admission, "datetime", Clock),
        mock.patch.object(gateway.lifecycle.life, "datetime", Clock),
    ):
        yield
