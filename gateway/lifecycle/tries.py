"""The attempts of one request that failed: whether another one may follow, and which of them is charged.

What surely did not start may be sent elsewhere. What may have run is sent again only where the operator wants
that, and then each attempt counts: one is charged, all others are waste, which budgets do not see and the
record does. Refuses to know how attempts are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.errors import DeadlinePassed, NotStarted, OutcomeUnknown, Rejected

if TYPE_CHECKING:
    from gateway.errors import UpstreamFailure
    from gateway.lifecycle.story import Story
    from gateway.routing.rank import Route
    from gateway.upstreams.rules import Retries

SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Try:
    """One that failed; `place` is its line in the story."""

    route: Route
    failure: UpstreamFailure  # without its traceback, which would hold what holds this
    place: int


@dataclass(slots=True)
class Tries:
    """In the order in which they were made."""

    story: Story
    retries: Retries
    made: list[Try] = field(default_factory=list)

    def again(self, route: Route, failure: UpstreamFailure) -> bool:
        """Notes a failure, the newest line of the story; says whether another deployment may be asked."""
        made = Try(route, failure.with_traceback(None), len(self.story.attempts) - 1)
        self.made.append(made)
        if isinstance(failure, NotStarted):
            return True
        if not may_have_run(failure):
            return False
        self.story.waste(made.place, route)  # until it is charged
        unsure = sum(may_have_run(one.failure) for one in self.made)
        return unsure <= self.retries.ambiguous and not isinstance(failure, DeadlinePassed)

    def charged(self) -> tuple[Route, OutcomeUnknown] | None:
        """The one that is charged: the last whose outcome nobody knows. It is no waste any more."""
        for one in reversed(self.made):
            if isinstance(one.failure, OutcomeUnknown):
                self.story.waste(one.place, None)
                return one.route, one.failure
        return None

    def rejected(self) -> tuple[Route, Rejected] | None:
        """The last that was refused by its service, where nothing is charged."""
        refused = [(one.route, one.failure) for one in self.made if isinstance(one.failure, Rejected)]
        return refused[-1] if refused else None

    def failures(self) -> list[UpstreamFailure]:
        return [one.failure for one in self.made]


def may_have_run(failure: UpstreamFailure) -> bool:
    """Whether the work may have been done although nothing came of it."""
    if isinstance(failure, Rejected):
        return (failure.status or 0) >= SERVER_ERROR
    return isinstance(failure, OutcomeUnknown)
