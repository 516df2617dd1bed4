"""How the failures of image services and of the store are told to clients.

A failure after which the work surely did not run says that nothing was charged; any other one says that it
was, and asks stock clients not to send the paid request again.
"""

from __future__ import annotations

import math
import random

from gateway.errors import (
    NotStarted,
    OutcomeUnknown,
    Rejected,
    Unavailable,
    UpstreamAnswered,
    UpstreamFailure,
)

NO_RETRY = {"x-should-retry": "false"}
BUSY_RETRY_S = 2.0
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500
BAD_GATEWAY = 502
UNAVAILABLE = 503
TIMED_OUT = 504


def outcome_of(failure: UpstreamFailure) -> str:
    """The failure in one word, as records and metrics name it."""
    if isinstance(failure, NotStarted):
        return "not_started"
    return "rejected" if isinstance(failure, Rejected) else "unknown"


def store_unavailable() -> Unavailable:
    """503: the ledger cannot decide, so nothing was sent or charged."""
    return Unavailable(
        "The budget store cannot be reached, so the request was neither sent nor charged.",
        code="budget_store_unavailable",
        headers={"retry-after": "2"},
    )


def relayed(failure: Rejected) -> UpstreamAnswered:
    """The service's own error; a 5xx may have cost work, so it is not to be sent again unasked."""
    error, status = failure.error, failure.status or BAD_GATEWAY
    return UpstreamAnswered(
        str(error["message"]),
        code=error.get("code"),
        param=error.get("param"),
        status=status,
        type=error.get("type") or "upstream_error",
        headers=NO_RETRY if status >= SERVER_ERROR else {},
    )


def unknown(failure: OutcomeUnknown) -> UpstreamAnswered:
    """502 or 504: the work may have been done, and is charged."""
    return UpstreamAnswered(
        f"{failure} The request is charged as estimated, because the work may have been done.",
        code="upstream_timeout" if failure.timed_out else "upstream_error",
        status=TIMED_OUT if failure.timed_out else BAD_GATEWAY,
        headers=NO_RETRY,
    )


def spread(seconds: float) -> str:
    """A moment to come back, up to a fifth later than wished, so that clients do not all come at once."""
    return str(max(1, math.ceil(seconds * random.uniform(1.0, 1.2) - 0.5)))  # noqa: S311 - no secret


def busy() -> Unavailable:
    """503: the deployment that had room when the budgets were asked has none any more."""
    return Unavailable(
        "Every deployment that the budgets have room for is busy. Nothing was charged.",
        code="deployments_busy",
        headers={"retry-after": spread(BUSY_RETRY_S)},
    )


def nobody_started(failure: NotStarted | None) -> UpstreamAnswered:
    """Nothing ran and nothing was charged, so the client may try again when the service wishes."""
    status = failure.status if failure is not None else None
    headers = {}
    if failure is not None and failure.retry_after_s is not None:
        headers["retry-after"] = spread(failure.retry_after_s)
    message = f"{failure or 'No image service took the request.'} Nothing was charged."
    if status == TOO_MANY_REQUESTS:
        return UpstreamAnswered(message, code="upstream_rate_limited", status=429, headers=headers)
    if status is None or status == UNAVAILABLE:
        return UpstreamAnswered(message, code="upstream_unavailable", status=503, headers=headers)
    return UpstreamAnswered(message, code="upstream_misconfigured", status=502, headers=NO_RETRY)
