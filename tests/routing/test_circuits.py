"""Which failures speak against a deployment, and which say nothing of it."""

from __future__ import annotations

import pytest

from gateway.errors import DeadlinePassed, NotStarted, OutcomeUnknown, Rejected, UpstreamFailure
from gateway.routing.circuits import LONGEST_PAUSE_S, Sign, sign_of


@pytest.mark.parametrize(
    ("failure", "sign"),
    [
        (NotStarted("no connection"), Sign("failed", "unreachable")),
        (NotStarted("429", status=429), Sign("failed", "rate_limited")),
        (NotStarted("429", status=429, retry_after_s=7), Sign("none", "rate_limited", 7)),
        (NotStarted("503", status=503, retry_after_s=2), Sign("failed", "overloaded", 2)),
        (NotStarted("503", status=503, retry_after_s=9e9), Sign("failed", "overloaded", LONGEST_PAUSE_S)),
        (NotStarted("401", status=401), Sign("failed", "misconfigured")),
        (Rejected("400", status=400, error={}), Sign("ok")),
        (Rejected("500", status=500, error={}), Sign("failed", "server_error")),
        (OutcomeUnknown("504", timed_out=True, status=504), Sign("failed", "timeout")),
        (OutcomeUnknown("502", status=502), Sign("failed", "server_error")),
        (OutcomeUnknown("reset"), Sign("failed", "broken")),
        (DeadlinePassed(), Sign("none")),
    ],
)
def test_a_failure_counts_only_where_the_service_is_to_blame(failure: UpstreamFailure, sign: Sign) -> None:
    assert sign_of(failure) == sign
