"""What this process knows of the deployments now: their slots in use and their circuits, by all gateways.

Filled in the background and by every answer of the store (`leases`), read by requests from memory only. All
times are this process's monotonic seconds. Refuses to know networks and stores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.upstreams.deployments import Deployment

State = Literal["closed", "half_open", "probing", "ejected", "paused"]
STALE_S = 5.0
"""A view older than this is no view: then a process goes by its own counts."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How a deployment stood when the store was asked last. `ejected_until` is None while it is not ejected;
    `paused_until` is until when its service asked to be left alone; `why` is a word of `circuits.Why`."""

    state: State = "closed"
    in_use: int = 0
    failures: int = 0
    ejections: int = 0
    ejected_until: float | None = None
    paused_until: float = float("-inf")
    why: str = ""

    @classmethod
    def read(cls, row: Sequence[Any], now: float) -> Sight:
        """A row of the store's answer."""
        state, in_use, failures, ejections, ejected_ms, paused_ms, why = row
        return cls(
            state=cast("State", str(state)),
            in_use=int(in_use),
            failures=int(failures),
            ejections=int(ejections),
            ejected_until=None if int(ejected_ms) < 0 else now + int(ejected_ms) / 1000,
            paused_until=now + int(paused_ms) / 1000,
            why=str(why),
        )

    def state_at(self, now: float) -> State:
        """The state as far as it can be told without asking again."""
        if self.paused_until > now:
            return "paused"
        if self.ejected_until is None:
            return "closed"
        if self.ejected_until > now:
            return "ejected"
        return "probing" if self.state == "probing" else "half_open"


UNSEEN = Sight()


@dataclass(slots=True)
class Fleet:
    """`own` counts the leases of this process by deployment. `shared` is false while the store does not
    answer, so that gateways know nothing of each other."""

    sights: dict[str, Sight] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)
    looked_at: float = float("-inf")
    shared: bool = True

    def sight(self, deployment: Deployment) -> Sight:
        return self.sights.get(deployment.id, UNSEEN)

    def in_use(self, deployment: Deployment, now: float) -> int:
        """Slots in use by all gateways, or by this one where the view is too old."""
        own = self.own.get(deployment.id, 0)
        return own if now - self.looked_at > STALE_S else max(own, self.sight(deployment).in_use)

    def free(self, deployment: Deployment, now: float) -> float:
        """The free share of a deployment's capacity; all of it where no capacity is declared."""
        limit = deployment.concurrency
        return 1.0 if limit is None else max(0.0, 1.0 - self.in_use(deployment, now) / limit)

    def left_out(self, deployment: Deployment, now: float) -> str | None:
        """Why a deployment is not asked now while others are there, as a sentence."""
        sight = self.sights.get(deployment.id)
        if sight is None:
            return None
        return told(sight, now)


def told(sight: Sight, now: float) -> str | None:
    """Why a deployment in this state is not asked now, or None where it may be."""
    state = sight.state_at(now)
    if state == "ejected" and sight.ejected_until is not None:
        return f"ejected for {sight.ejected_until - now:.0f} s more: {sight.why}"
    if state == "paused":
        return f"its service asked for a pause of {sight.paused_until - now:.0f} s more: {sight.why}"
    return "one request is trying whether it is well again" if state == "probing" else None
