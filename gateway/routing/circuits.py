"""What an attempt says about the deployment that it was made at: well, failing, busy, or nothing.

Only what a service itself does counts: a client that leaves or is in a hurry says nothing about it, and a
request that a service refuses for its content shows that it is well. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateway.errors import DeadlinePassed, NotStarted, OutcomeUnknown, Rejected

if TYPE_CHECKING:
    from gateway.errors import UpstreamFailure

Outcome = Literal["ok", "failed", "none"]
Why = Literal[
    "", "unreachable", "rate_limited", "overloaded", "misconfigured", "server_error", "timeout", "broken"
]
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500
UNAVAILABLE = 503
LONGEST_PAUSE_S = 600.0
"""However long a service asks to be left alone: it may be wrong about itself."""


@dataclass(frozen=True, slots=True)
class Sign:
    """`outcome` as the circuit counts it; `pause_s` is how long the service wishes to be left alone."""

    outcome: Outcome
    why: Why = ""
    pause_s: float = 0.0


WELL = Sign("ok")
NOTHING = Sign("none")
BROKEN = Sign("failed", "broken")
"""A stream that began and did not end in order."""


def sign_of(failure: UpstreamFailure) -> Sign:
    """What a failed attempt says about its deployment."""
    if isinstance(failure, DeadlinePassed):
        return NOTHING
    if isinstance(failure, NotStarted):
        return _not_started(failure)
    if isinstance(failure, Rejected):
        return Sign("failed", "server_error") if (failure.status or 0) >= SERVER_ERROR else WELL
    if isinstance(failure, OutcomeUnknown) and failure.timed_out:
        return Sign("failed", "timeout")
    return Sign("failed", "broken" if failure.status is None else "server_error")


def _not_started(failure: NotStarted) -> Sign:
    pause_s = min(failure.retry_after_s or 0.0, LONGEST_PAUSE_S)
    if failure.status is None:
        return Sign("failed", "unreachable")
    if failure.status == TOO_MANY_REQUESTS:
        # With a wish for a pause it is a deployment that knows its limits; without one it is a storm.
        return Sign("none" if pause_s else "failed", "rate_limited", pause_s)
    if failure.status == UNAVAILABLE:
        return Sign("failed", "overloaded", pause_s)
    return Sign("failed", "misconfigured")
