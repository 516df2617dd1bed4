"""The places of work at a deployment: each request holds one for as long as its images take.

All gateways share them and know them exactly, as leases in Redis do. Times are seconds; requests that find no
place wait for the one that is free first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush


@dataclass(slots=True)
class Slots:
    """`capacity` places, or endless ones with None."""

    capacity: int | None
    seconds: float
    ends: list[float] = field(default_factory=list)

    def free(self, at: float) -> bool:
        """Whether there is a place at a moment."""
        if self.capacity is None:
            return True
        while self.ends and self.ends[0] <= at:
            heappop(self.ends)
        return len(self.ends) < self.capacity

    def next_free(self, at: float) -> float:
        """The first moment from `at` on with a place."""
        return at if self.free(at) else self.ends[0]

    def take(self, at: float, images: int) -> None:
        """Starts a request at a moment that has a place."""
        if self.capacity is not None:
            self.free(at)
            heappush(self.ends, at + self.seconds * images)
