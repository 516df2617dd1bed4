"""Requests that pass while the budget store is down, from their first line on disk to their charge.

Each one is written to this process's seat before it is sent, and again with what it took; when the store is
back the ledger gets it once, as an orphan charge in the window of its time. What a process that died left is
brought by any other on the same data directory. Refuses to know who may pass: it asks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.lifecycle.seats import Seat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.lifecycle.unposted import Posting

logger = logging.getLogger(__name__)


def emergency_hold(request_id: str) -> str:
    """The hold of a request that passes without the store.

    Another than the request's own, which the store may have made without an answer and will let expire.
    """
    return f"{request_id}.e"


class Uses:
    """The seat of this process and those that others left in the directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seat: Seat | None = None
        self._at: dict[str, Seat] = {}
        self._flying: dict[str, Posting] = {}
        self._writing = asyncio.Lock()

    def __contains__(self, hold: str) -> bool:
        return hold in self._at

    async def begin(self, posting: Posting, allows: Callable[[Seat], bool]) -> bool:
        """Write a use before it is sent; False when `allows` says no, or the disk does not take it."""
        async with self._writing:
            try:
                if self._seat is None:
                    self._seat = await asyncio.to_thread(Seat.take, self._directory)
                if self._seat is None or not allows(self._seat):
                    return False
                await asyncio.to_thread(self._seat.write, posting)
            except OSError:
                logger.exception("nothing passes without the store: its use cannot be written")
                return False
            self._at[posting.hold] = self._seat
            self._flying[posting.hold] = posting
            return True

    async def end(self, posting: Posting) -> None:
        """Write what a use took in the end."""
        self._flying.pop(posting.hold, None)
        async with self._writing:
            try:
                await asyncio.to_thread(self._at[posting.hold].write, posting)
            except OSError:
                logger.exception(
                    "what %s took is kept in memory only; on disk it is an estimate", posting.hold
                )

    def abandoned(self, hold: str) -> Posting | None:
        """A use whose life is over without an end: charged as it was written."""
        return self._flying.pop(hold, None)

    async def posted(self, hold: str) -> None:
        """The ledger has it."""
        async with self._writing:
            seat = self._at[hold]
            try:
                await asyncio.to_thread(seat.posted, hold)
            except OSError:
                logger.exception("that %s is charged is not written; it will be offered again", hold)
            del self._at[hold]
            if seat is not self._seat and seat not in self._at.values():
                seat.close()

    async def take_over(self) -> list[Posting]:
        """What waits on the disk and nobody brings: of processes that died, or of this seat's last one."""
        async with self._writing:
            try:
                found = await asyncio.to_thread(lambda: list(Seat.left_behind(self._directory)))
            except OSError:
                logger.exception("what passed without the store cannot be read")
                return []
            seats = [*found, *([self._seat] if self._seat is not None else [])]
            waiting = [
                (posting, seat)
                for seat in seats
                for posting in seat.waiting()
                if posting.hold not in self._at and posting.hold not in self._flying
            ]
            self._at |= {posting.hold: seat for posting, seat in waiting}
        return [posting for posting, _ in waiting]

    async def close(self) -> None:
        async with self._writing:
            for seat in {*self._at.values(), *([self._seat] if self._seat is not None else [])}:
                await asyncio.to_thread(seat.close)
            self._at.clear()
            self._seat = None
