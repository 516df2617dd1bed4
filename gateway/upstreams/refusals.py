"""What a failed exchange with a deployment means for the work: did it surely not start, or can nobody tell?

Every answer that is not a success and every error of the transport is judged here. Anything that this module
is not sure of is `OutcomeUnknown`. Messages that go on to clients are cut and scrubbed of all that is ours.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import msgspec

from gateway.errors import NotStarted, OutcomeUnknown, Rejected, UpstreamFailure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.upstreams.deployments import Deployment

MAX_ERROR_BYTES = 64 * 1024
MAX_ERROR_MESSAGE = 300
MAX_PLAIN = 128
REDIRECTS = range(300, 400)
NOT_OURS = frozenset({401, 403, 404})
"""Our credential or our model name is wrong there: the request itself may be good elsewhere."""
TOO_MANY_REQUESTS = 429
UNAVAILABLE = 503
AMBIGUOUS = frozenset({408, 502, 504})
"""Something between us and the work gave up waiting for it."""
CLIENT_ERRORS = range(400, 500)
THREE_DIGITS = re.compile(r"[1-9][0-9]{2}")
REFUSED_CODES = frozenset(
    {
        "content_filter", "content_policy_violation", "contentfilter", "image_content_policy_violation",
        "insufficient_quota", "invalid_api_key", "invalid_image", "invalid_prompt", "model_not_found",
        "moderation_blocked", "rate_limit_exceeded",
    }
)  # fmt: skip
"""Codes by which services say that they did not do what was asked."""
OVERLOAD_CODES = frozenset({"overloaded", "overloaded_error", "server_overloaded", "capacity_exceeded"})

TRANSPORT_ERRORS = (httpx.HTTPError, aiohttp.ClientError)
"""The transport maps most of aiohttp's errors to httpx's, but not all of them."""


async def refusal_of(response: httpx.Response, deployment: Deployment) -> UpstreamFailure:
    """The meaning of an answer that is not a success; reads the beginning of its body."""
    status = response.status_code
    if status in REDIRECTS:
        return NotStarted("The image service answered with a redirect, which is not followed.", status=status)
    error = _error_object(await _head(response), deployment)
    wait_s = _seconds(response.headers.get("retry-after"))
    if status == TOO_MANY_REQUESTS:
        return NotStarted("The image service is rate limited.", status=status, retry_after_s=wait_s)
    if status == UNAVAILABLE and (wait_s is not None or error.get("code") in OVERLOAD_CODES):
        return NotStarted("The image service is overloaded.", status=status, retry_after_s=wait_s)
    if status in NOT_OURS:
        return NotStarted("The image service refuses the gateway's credential or model.", status=status)
    if status in AMBIGUOUS:
        return OutcomeUnknown(
            f"The image service answered {status}; whether it made images is unknown.",
            timed_out=status != HTTPStatus.BAD_GATEWAY,
            status=status,
        )
    return Rejected(str(error["message"]), status=status, error=error)


def _error_object(body: bytes, deployment: Deployment) -> dict[str, Any]:
    """The service's error in OpenAI's shape: message cut and scrubbed of everything that is ours."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    error = document.get("error", document) if isinstance(document, dict) else None
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        error = {}
    message = next((error[key] for key in ("message", "detail") if isinstance(error.get(key), str)), None)
    return {
        "message": scrubbed(message, deployment) if message else "The image service refused the request.",
        "type": plain(error.get("type")) or "upstream_error",
        "param": plain(error.get("param")),
        "code": plain(error.get("code")),
    }


def error_in_success(error: object) -> Rejected | OutcomeUnknown:
    """The meaning of an error that came under a status of success, as some services send it.

    Only a code or a type that speaks of the request itself says that nothing ran.
    """
    named = error if isinstance(error, dict) else {}
    code = named.get("code")
    status = int(code) if isinstance(code, int | str) and THREE_DIGITS.fullmatch(str(code)) else None
    refused = status is not None and status in CLIENT_ERRORS and status not in AMBIGUOUS
    if refused or str(code).lower() in REFUSED_CODES or named.get("type") == "invalid_request_error":
        return Rejected("The image service refused the request.", status=status or 400, error=named)
    return OutcomeUnknown("The image service answered with an error under a status of success.")


def scrubbed(message: str, deployment: Deployment) -> str:
    """A service's sentence without our address of it and our credential, cut to a sensible length."""
    ours = [deployment.base_url, httpx.URL(deployment.base_url).host]
    if deployment.api_key is not None:
        ours.append(deployment.api_key.get_secret_value())
    for secret in ours:
        message = message.replace(secret, "***")
    printable = "".join(character for character in message if character.isprintable())
    return printable[:MAX_ERROR_MESSAGE]


def transport_failure(error: httpx.HTTPError | aiohttp.ClientError) -> UpstreamFailure:
    """What a failed exchange means for the work.

    The transport reports a connection that broke after the request was sent as `ConnectTimeout`, like one
    that was never made; only aiohttp's own exception, the cause, tells them apart.
    """
    cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__
    if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
        return NotStarted("The image service cannot be reached.")
    if isinstance(error, httpx.ReadTimeout):
        return OutcomeUnknown("The image service did not answer in time.", timed_out=True)
    return OutcomeUnknown("The connection to the image service broke before its answer was complete.")


async def _head(response: httpx.Response) -> bytes:
    """The beginning of an error's body; a body that breaks off is as good as a short one here."""
    head = b""
    try:
        async for chunk in response.aiter_bytes():
            head += chunk
            if len(head) >= MAX_ERROR_BYTES:
                break
    except TRANSPORT_ERRORS:
        return head
    return head[:MAX_ERROR_BYTES]


def _seconds(header: str | None) -> float | None:
    """Retry-After as seconds; HTTP dates and nonsense are not a wish that we can use."""
    return float(header) if header is not None and header.isdecimal() and len(header) < 7 else None  # noqa: PLR2004


def plain(value: object) -> str | None:
    """A short printable ASCII word of a service's, or nothing."""
    if isinstance(value, str) and 0 < len(value) <= MAX_PLAIN and value.isascii() and value.isprintable():
        return value
    return None


def not_started(failures: Iterable[UpstreamFailure]) -> NotStarted | None:
    """The failure to report when no attempt started: the one that says when to come back, else the last."""
    known = [failure for failure in failures if isinstance(failure, NotStarted)]
    return max(known, key=lambda failure: failure.retry_after_s is not None, default=None)
