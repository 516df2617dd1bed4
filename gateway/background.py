"""Work that goes on behind the requests, by name, until the process ends.

None of it may end by itself: what does is logged and makes the process unready. Refuses to know what the
work is.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from gateway.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Coroutine

logger = logging.getLogger(__name__)

STOP_AGAIN_S = 1.0


class Background:
    """Every piece is a task of its own."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[name] = asyncio.create_task(work, name=name)
        task.add_done_callback(_report)

    async def check(self) -> None:
        """Raise StoreError when a piece has ended."""
        ended = [name for name, task in self._tasks.items() if task.done()]
        if ended:
            raise StoreError(f"background work has ended: {', '.join(ended)}")

    async def ended(self, name: str) -> None:
        """Wait for a piece that was told to end."""
        await self._tasks[name]

    async def stop(self) -> None:
        """Cancels all of it until it has ended: a library that is cancelled while it connects may take that
        for a failed connection, after which its caller goes on."""
        running = set(self._tasks.values())
        while running:
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=STOP_AGAIN_S)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.critical("background work %s ended unexpectedly", task.get_name(), exc_info=task.exception())
