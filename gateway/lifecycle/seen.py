"""How the deployments stand for one request at the moment when it is planned.

Plain answers to what a plan asks: free slots, circuits, how long such work takes. Pure: the moment is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.routing.fleet import Fleet
    from gateway.upstreams.deployments import Deployment


@dataclass(frozen=True, slots=True)
class Seen:
    """The fleet at `now`, in monotonic seconds."""

    fleet: Fleet
    now: float

    def free(self, deployment: Deployment) -> float:
        """The free share of its capacity."""
        return self.fleet.free(deployment, self.now)

    def left_out(self, deployment: Deployment) -> str | None:
        """Why it is not asked now while others are there."""
        return self.fleet.left_out(deployment, self.now)
