"""The lane of a key, in which its requests are priced and asked for at the ledger, a few at a time.

A crowd of requests of one key waits in its own lane, where waiting costs nothing, and not before everybody
else's. Refuses nobody, and refuses to know what requests ask for.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

WIDTH = 4
"""So many requests of a key at once: while one waits for the store, others are priced."""


class Place:
    """A place in a lane, until `leave()`."""

    def __init__(self, lane: asyncio.Semaphore) -> None:
        self._lane: asyncio.Semaphore | None = lane

    def leave(self) -> None:
        """Lets the next one in; nothing when it was left before."""
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.release()


@dataclass(slots=True)
class Lanes:
    """The lanes of one process; a lane is there as long as somebody is in it or waits."""

    _lanes: WeakValueDictionary[str, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)

    async def enter(self, key: str) -> Place:
        """A place in the key's lane, in the order of coming."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = asyncio.Semaphore(WIDTH)
        await lane.acquire()
        return Place(lane)
