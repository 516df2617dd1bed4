"""The lanes of a key, in which its requests take a step one after the other.

A crowd of requests of one key waits in its own lane, where waiting costs nothing, and not before everybody
else's: a request of another key comes to its turn after one of the crowd, not after all of it. There are two:
at the door, until a request has been read, and then until it was priced and asked for at the ledger. Refuses
nobody, and refuses to know what requests ask for.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Hashable

KEPT_S = 0.01
"""Who is not through by then waits, for a slot or for a slow store, and needs no turn for that."""


class Place:
    """A place in a lane: `take()` it, then `leave()`, which may be called however far the request came."""

    def __init__(self, lane: asyncio.Semaphore) -> None:
        self.waited_s = 0.0
        self._lane = lane
        self._kept: asyncio.TimerHandle | None = None

    async def take(self) -> None:
        """Waits for those that came before; after `KEPT_S` the place is left by itself."""
        came = time.monotonic()
        await self._lane.acquire()
        self.waited_s = time.monotonic() - came
        self._kept = asyncio.get_running_loop().call_later(KEPT_S, self.leave)

    def leave(self) -> None:
        """Lets the next one in; nothing when the place was not taken, or was left before."""
        if self._kept is not None:
            self._kept.cancel()
            self._kept = None
            self._lane.release()


@dataclass(slots=True)
class Lanes:
    """The lanes of one process; a lane is there as long as somebody is in it or waits."""

    _lanes: WeakValueDictionary[Hashable, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)

    def place(self, key: Hashable) -> Place:
        """A place in the key's lane, still to be taken."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = asyncio.Semaphore(1)
        return Place(lane)
