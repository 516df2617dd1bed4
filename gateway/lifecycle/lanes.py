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
    """A place in a lane: `take()` it, then `leave()`, which may be called however far the request came."""

    def __init__(self, lane: asyncio.Semaphore) -> None:
        self._lane = lane
        self._taken = False

    async def take(self) -> None:
        """Waits for those that came before."""
        await self._lane.acquire()
        self._taken = True

    def leave(self) -> None:
        """Lets the next one in; nothing when the place was not taken, or was left before."""
        if self._taken:
            self._taken = False
            self._lane.release()


@dataclass(slots=True)
class Lanes:
    """The lanes of one process; a lane is there as long as somebody is in it or waits."""

    _lanes: WeakValueDictionary[str, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)

    def place(self, key: str) -> Place:
        """A place in the key's lane, still to be taken."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = asyncio.Semaphore(WIDTH)
        return Place(lane)
