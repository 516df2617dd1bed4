"""The errors that ecogate raises on purpose.

    EcogateError
    ├── ConfigError               a file that users write is wrong; carries every problem found
    ├── StoreError                Redis or SQL could not do what was asked
    │   ├── StoreAway             no server answers there; one may come later
    │   ├── LedgerUnavailable     the ledger could not decide in time: 503 budget_store_unavailable
    │   ├── WindowMoved           the store's time is in neither bucket of a counter: compute them again
    │   └── HoldGone              the hold is final or lost: nothing may be sent for it
    ├── UpstreamFailure           an attempt at an image service brought no answer
    │   ├── NotStarted            the work surely did not start: another deployment may be asked
    │   ├── Rejected              the service refused the request itself: nothing ran, nobody else is asked
    │   └── OutcomeUnknown        sent, but nobody knows whether it ran: charged as held
    │       └── DeadlinePassed    the client would not wait any longer, which says nothing of the service
    └── ApiError                  an answer to the client in OpenAI's error shape
        ├── InvalidRequest        400 (or 413, 415): the request is malformed; nothing was sent or charged
        ├── NotAuthenticated      401
        ├── NotAllowed            403
        ├── NotFound              404: unknown URL, model or record
        ├── BudgetExceeded        402, or 429 while other requests hold the room
        ├── Repeated              409: the idempotency key belongs to an earlier request
        ├── RateLimited           429: the key has sent its requests of the minute
        ├── Unavailable           503: the budget store, or no deployment can take the request
        └── UpstreamAnswered      what an image service said, or 502/504 when it said nothing

Every class says when it is raised; none is raised for a programming error. This module knows status codes
and error codes, and no web framework.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class EcogateError(Exception):
    """Base of everything that ecogate raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file that a user wrote. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class ConfigError(EcogateError):
    """A policies, deployments or factors file is wrong; `problems` holds every mistake, in file order."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class StoreError(EcogateError):
    """Redis or SQL could not do what was asked."""


class StoreAway(StoreError):
    """No server answers at the store's address; it may come later, so this is no mistake in a setting."""


class LedgerUnavailable(StoreError):
    """The ledger could not decide: unreachable, too slow, out of memory or not initialised.

    `away` is a store that did not answer. One that is not even `asked` was known to be away: nothing can have
    been done there.
    """

    def __init__(self, message: str, *, away: bool = False, asked: bool = True) -> None:
        super().__init__(message)
        self.away = away
        self.asked = asked


class WindowMoved(StoreError):
    """The store's time lies in neither the current nor the next bucket of a counter that was sent.

    `now_ms` is the store's time (UTC, since 1970), by which the caller computes the buckets again.
    """

    def __init__(self, now_ms: int) -> None:
        super().__init__(f"no bucket of a budget's window holds the store's time {now_ms} ms")
        self.now_ms = now_ms


class HoldGone(StoreError):
    """The hold was settled, released, expired or lost, so nothing may be sent upstream for it."""


class UpstreamFailure(EcogateError):
    """An attempt at an image service brought no usable answer. The message holds no URL and no credential.

    `status` is what the service answered, if it did.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotStarted(UpstreamFailure):
    """The work surely did not start: no connection, 429, or an overload answer that says so.

    `retry_after_s` is the service's own wish, where it gave one.
    """

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, status=status)
        self.retry_after_s = retry_after_s


class Rejected(UpstreamFailure):
    """The service refused the request itself (400, 413, 422, content policy, ...), so nothing ran."""

    def __init__(self, message: str, *, status: int, error: dict[str, Any]) -> None:
        super().__init__(message, status=status)
        self.error = error


class OutcomeUnknown(UpstreamFailure):
    """The request went out and no trustworthy answer came back: it may have run.

    `timed_out` separates 504 from 502.
    """

    def __init__(self, message: str, *, timed_out: bool = False, status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.timed_out = timed_out


class DeadlinePassed(OutcomeUnknown):
    """The client's deadline passed before the service answered; it may have run."""

    def __init__(self) -> None:
        super().__init__("The image service did not answer before the client's deadline.", timed_out=True)


@dataclass(eq=False)
class ApiError(EcogateError):
    """An answer in OpenAI's error shape.

    `headers` are sent as they are; `eco` becomes `error.eco`.
    """

    message: str
    code: str | None = None
    param: str | None = None
    status: int = 500
    type: str = "api_error"
    headers: dict[str, str] = field(default_factory=dict)
    eco: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """The JSON object that the client reads."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        if self.eco is not None:
            error["eco"] = self.eco
        return {"error": error}


@dataclass(eq=False)
class InvalidRequest(ApiError):
    """The request is malformed or asks for something that does not exist; nothing was sent or charged."""

    status: int = 400
    type: str = "invalid_request_error"


@dataclass(eq=False)
class NotAuthenticated(ApiError):
    """No API key, or one that is unknown, revoked or malformed: the answer is the same for all."""

    status: int = 401
    type: str = "invalid_request_error"
    code: str | None = "invalid_api_key"


@dataclass(eq=False)
class NotAllowed(ApiError):
    """The key is good, but its role may not do this."""

    status: int = 403
    type: str = "invalid_request_error"
    code: str | None = "not_allowed"


@dataclass(eq=False)
class NotFound(ApiError):
    """Unknown URL, model or record, or one that the caller may not see."""

    status: int = 404
    type: str = "invalid_request_error"


@dataclass(eq=False)
class BudgetExceeded(ApiError):
    """A budget has no room; `eco` names it with its amounts. Stock clients do not retry a 402."""

    status: int = 402
    type: str = "budget_exceeded"


@dataclass(eq=False)
class Repeated(ApiError):
    """The idempotency key belongs to an earlier request; nothing was sent or charged for this one."""

    status: int = 409
    type: str = "idempotency_error"


@dataclass(eq=False)
class RateLimited(ApiError):
    """The key has sent as many requests as it may in a minute; this one was neither read nor charged."""

    status: int = 429
    type: str = "requests"
    code: str | None = "rate_limit_exceeded"


@dataclass(eq=False)
class Unavailable(ApiError):
    """Nothing can be decided or sent right now; nothing was charged."""

    status: int = 503
    type: str = "api_error"


@dataclass(eq=False)
class UpstreamAnswered(ApiError):
    """An image service refused or failed; its message is cut and scrubbed of our credentials."""

    status: int = 502
    type: str = "upstream_error"
