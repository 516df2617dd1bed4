"""How the deployments stand for one request at the moment when it is planned.

Plain answers to what a plan asks: free slots, circuits, how long such work takes. Pure: the moment is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.routing.latency import kind_of

if TYPE_CHECKING:
    from gateway.images.request import ImageRequest
    from gateway.routing.fleet import Fleet
    from gateway.routing.latency import Latencies
    from gateway.upstreams.deployments import Deployment


@dataclass(frozen=True, slots=True)
class Seen:
    """The fleet at `now`, in monotonic seconds, and how long work of a kind takes there. `left_s` is how long
    the client still waits, if it said."""

    fleet: Fleet
    latencies: Latencies
    kind: str
    now: float
    left_s: float | None = None

    def free(self, deployment: Deployment) -> float:
        """The free share of its capacity."""
        return self.fleet.free(deployment, self.now)

    def left_out(self, deployment: Deployment) -> str | None:
        """Why it is not asked now while others are there."""
        return self.fleet.left_out(deployment, self.now)

    def latency_p95_s(self, deployment: Deployment) -> float | None:
        """How long such work takes there at most, but for one in twenty; None where that is unknown."""
        return self.latencies.usual(deployment.id, self.kind).p95_s

    def late(self, deployment: Deployment) -> str | None:
        """Why an answer from there will hardly come in time; None where it may, or nobody knows."""
        if self.left_s is None:
            return None
        usual_s = self.latencies.usual(deployment.id, self.kind).p50_s
        if usual_s is None or usual_s <= self.left_s:
            return None
        return f"usually takes up to {usual_s:.3g} s, and the client waits for {max(0.0, self.left_s):.3g} s"


def kind(request: ImageRequest) -> str:
    """The kind of work that a request is, for comparing durations."""
    return kind_of(
        request.route,
        n=request.n,
        quality=request.quality,
        width=request.width,
        height=request.height,
        stream=request.stream,
    )
