"""Sends one request to one deployment and says how that ended, as far as anyone can know.

The one question that matters for money and electricity is answered here: did the work surely not start
(`NotStarted`), did the service say no (`Rejected`), or can nobody tell (`OutcomeUnknown`)? Anything this
module is not sure of is `OutcomeUnknown`. It never retries, follows no redirect, takes no proxy from the
environment and refuses to know budgets and routing.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from gateway import __version__
from gateway.errors import NotStarted, OutcomeUnknown, Rejected, UpstreamFailure
from gateway.upstreams.dialects import openai

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.images.request import ImageRequest
    from gateway.upstreams.deployments import Deployment

IDLE_CONNECTION_S = 2.0
"""Shorter than any server's own idle limit: a request on a connection that the server just closed has an
unknown outcome and would be charged, which costs more than a new connection does."""
SPOOL_IN_MEMORY_BYTES = 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_ERROR_MESSAGE = 300
ANSWER_HEADERS = frozenset({"content-type", "openai-processing-ms", "openai-version", "x-ms-region"})
ANSWER_HEADER_PREFIX = "x-ratelimit-"

REDIRECTS = range(300, 400)
NOT_OURS = frozenset({401, 403, 404})
"""Our credential or our model name is wrong there: the request itself may be good elsewhere."""
TOO_MANY_REQUESTS = 429
UNAVAILABLE = 503
AMBIGUOUS = frozenset({408, 502, 504})
"""Something between us and the work gave up waiting for it."""
TRANSPORT_ERRORS = (httpx.HTTPError, aiohttp.ClientError)
"""The transport maps most of aiohttp's errors to httpx's, but not all of them."""
OVERLOAD_CODES = frozenset({"overloaded", "overloaded_error", "server_overloaded", "capacity_exceeded"})


@dataclass(slots=True)
class UpstreamAnswer:
    """A complete 2xx answer, spooled. `headers` hold only what may go back to the client."""

    status: int
    headers: list[tuple[str, str]]
    body: IO[bytes]
    length: int
    request_id: str | None

    def read(self) -> bytes:
        """The whole body, from its start."""
        self.body.seek(0)
        return self.body.read()

    def close(self) -> None:
        self.body.close()


@dataclass(slots=True)
class Upstream:
    """One deployment with its own connections; `in_flight` counts requests of this process only."""

    deployment: Deployment
    http: httpx.AsyncClient
    in_flight: int = 0

    @property
    def full(self) -> bool:
        limit = self.deployment.concurrency
        return limit is not None and self.in_flight >= limit

    async def send(
        self, request: ImageRequest, *, trace_headers: Mapping[str, str], max_answer_bytes: int
    ) -> UpstreamAnswer:
        """The deployment's answer, read to its end (decoded size capped at `max_answer_bytes`).

        Raises `NotStarted`, `Rejected` or `OutcomeUnknown`. Cancelling it closes the connection.
        """
        content = openai.body(request, self.deployment)
        headers = {"content-type": "application/json", **trace_headers}
        outgoing = self.http.build_request(
            "POST", openai.path(request).lstrip("/"), content=content, headers=headers
        )
        self.in_flight += 1
        try:
            response = await self.http.send(outgoing, stream=True)
            try:
                if not response.is_success:
                    raise await self._failure(response)
                return await self._spooled(response, max_answer_bytes)
            finally:
                await response.aclose()
        except TRANSPORT_ERRORS as error:
            raise _transport_failure(error) from error
        finally:
            self.in_flight -= 1

    async def _spooled(self, response: httpx.Response, max_answer_bytes: int) -> UpstreamAnswer:
        body: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY_BYTES)  # noqa: SIM115
        length = 0
        try:
            async for chunk in response.aiter_bytes():
                length += len(chunk)
                if length > max_answer_bytes:
                    raise OutcomeUnknown("The image service's answer is larger than allowed.")
                body.write(chunk)
        except BaseException:
            body.close()
            raise
        return UpstreamAnswer(
            status=response.status_code,
            headers=[
                (name, value)
                for name, value in response.headers.multi_items()
                if name in ANSWER_HEADERS or name.startswith(ANSWER_HEADER_PREFIX)
            ],
            body=body,
            length=length,
            request_id=_plain(response.headers.get("x-request-id")),
        )

    async def _failure(self, response: httpx.Response) -> UpstreamFailure:
        status = response.status_code
        if status in REDIRECTS:
            return NotStarted(
                "The image service answered with a redirect, which is not followed.", status=status
            )
        error = self._error_object(await _head(response))
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
                timed_out=status != 502,  # noqa: PLR2004
                status=status,
            )
        return Rejected(str(error["message"]), status=status, error=error)

    def _error_object(self, body: bytes) -> dict[str, Any]:
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
            "message": self._scrubbed(message) if message else "The image service refused the request.",
            "type": _plain(error.get("type")) or "upstream_error",
            "param": _plain(error.get("param")),
            "code": _plain(error.get("code")),
        }

    def _scrubbed(self, message: str) -> str:
        ours = [self.deployment.base_url, httpx.URL(self.deployment.base_url).host]
        if self.deployment.api_key is not None:
            ours.append(self.deployment.api_key.get_secret_value())
        for secret in ours:
            message = message.replace(secret, "***")
        printable = "".join(character for character in message if character.isprintable())
        return printable[:MAX_ERROR_MESSAGE]


@dataclass(slots=True)
class Upstreams:
    """The open connections to every deployment of a configuration; one per process and event loop."""

    connect_timeout_s: float
    read_timeout_s: float
    _open: dict[str, list[Upstream]] = field(default_factory=dict)

    def to(self, deployment: Deployment) -> Upstream:
        """The connections to a deployment, opened at first use.

        A deployment that changed has new ones; requests that began before keep those of its earlier form.
        """
        forms = self._open.setdefault(deployment.id, [])
        for upstream in forms:
            if upstream.deployment == deployment:
                return upstream
        forms.append(Upstream(deployment, self._client(deployment)))
        return forms[-1]

    async def close(self) -> None:
        await asyncio.gather(*(upstream.http.aclose() for forms in self._open.values() for upstream in forms))

    def _client(self, deployment: Deployment) -> httpx.AsyncClient:
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"ecogate/{__version__}",
        }
        if deployment.api_key is not None:
            headers["authorization"] = f"Bearer {deployment.api_key.get_secret_value()}"
        return httpx.AsyncClient(
            base_url=deployment.base_url,
            headers=headers,
            timeout=httpx.Timeout(self.read_timeout_s, connect=self.connect_timeout_s, pool=None),
            transport=AiohttpTransport(client=_session),
            follow_redirects=False,
            trust_env=False,
        )


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # limit=0: hundreds of slow requests in flight are the normal state; capacity is routing's business.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


def _transport_failure(error: httpx.HTTPError | aiohttp.ClientError) -> UpstreamFailure:
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


def _plain(value: object) -> str | None:
    """A short printable ASCII word of a service's, or nothing."""
    if isinstance(value, str) and 0 < len(value) <= 128 and value.isascii() and value.isprintable():  # noqa: PLR2004
        return value
    return None


def not_started(failures: Iterable[UpstreamFailure]) -> NotStarted | None:
    """The failure to report when no attempt started: the one that says when to come back, else the last."""
    known = [failure for failure in failures if isinstance(failure, NotStarted)]
    return max(known, key=lambda failure: failure.retry_after_s is not None, default=None)
