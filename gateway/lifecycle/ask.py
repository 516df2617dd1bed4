"""A request as it arrived, and what is answered to it: the two ends of a life."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from gateway.budgets.claims import Claim
    from gateway.footprint.quantities import Footprint
    from gateway.identity.subject import Subject
    from gateway.images.request import ImageRequest
    from gateway.lifecycle.relay import Relay
    from gateway.routing.rank import Route
    from gateway.upstreams.answers import UpstreamAnswer, UpstreamStream


class ClientGone(Exception):
    """The client hung up while an image service was working; what it asked for is charged."""


@dataclass(frozen=True, slots=True)
class Ask:
    """`gone` is set when the client hangs up; `started` is a monotonic time in seconds.

    That is when the request was read, less what it waited for its turn to be.

    `deadline_s` is how long after `started` the client stops waiting for the first byte. With
    `include_footprint` the answer gets an extra `ecogate` key. `allow_downgrade` says whether a lighter form
    of the request will do; None leaves it to the policies. `claim` makes it the same as an earlier one.
    """

    id: str
    subject: Subject
    request: ImageRequest
    gone: asyncio.Event
    retry_count: int | None = None
    deadline_s: float | None = None
    include_footprint: bool = False
    allow_downgrade: bool | None = None
    claim: Claim | None = None
    started: float = field(default_factory=time.monotonic)

    def left_s(self) -> float | None:
        """How long the client still waits; `None` when it did not say."""
        if self.deadline_s is None:
            return None
        return max(0.0, self.started + self.deadline_s - time.monotonic())


@dataclass(slots=True)
class Served:
    """An answer with its footprint, which is settled or, when `basis` says so, still the estimate.

    `remaining` is the tightest budget that the caller may see, as the header shows it. A stream comes through
    `relay`. `downgraded` and `rerouted` name what was changed, as the headers show it. `member` is added to
    the JSON object of an answer, before its closing brace. `failed` is an error that a service sent under a
    status of success; it has no footprint where nothing ran.
    """

    answer: UpstreamAnswer | UpstreamStream
    route: Route
    footprint: Footprint | None
    basis: str
    decision: str
    remaining: str | None
    warnings: list[str]
    relay: Relay | None = None
    member: bytes | None = None
    downgraded: str | None = None
    rerouted: str | None = None
    failed: bool = False
