"""What came back from a deployment with a 2xx: a complete, spooled answer or a stream of events.

Only headers that may go back to a client are kept. Refuses to know what the bytes mean; the scan that reads
them while they pass does.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

import aiohttp
import httpx
from httpx_aiohttp.transport import AiohttpResponseStream

from gateway.conversations.scans import answer_scan
from gateway.errors import OutcomeUnknown, Rejected, UpstreamFailure
from gateway.images.answer import Delivered, ErrorAnswer, UnreadableAnswer
from gateway.upstreams.refusals import error_in_success, plain, transport_failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.images.answer import AnswerScan
    from gateway.images.request import Route

SPOOL_IN_MEMORY_BYTES = 256 * 1024
ANSWER_HEADERS = frozenset({"content-type", "openai-processing-ms", "openai-version", "x-ms-region"})
ANSWER_HEADER_PREFIX = "x-ratelimit-"
DISPOSITION = re.compile(r'(attachment|inline)(; ?filename="?[A-Za-z0-9._ -]{1,100}"?)?')
EVENT_STREAM = "text/event-stream"
TRANSPORT_ERRORS = (httpx.HTTPError, aiohttp.ClientError)
"""The transport maps most of aiohttp's errors to httpx's, but not all of them."""


@dataclass(slots=True)
class UpstreamAnswer:
    """A complete 2xx answer, spooled. `headers` hold only what may go back.

    `facts` are what was read in it, or why nothing was. `left_out` are the parameters of the request that
    this service does not take.
    """

    status: int
    headers: list[tuple[str, str]]
    body: IO[bytes]
    length: int
    request_id: str | None
    left_out: list[str]
    media_type: str
    facts: Delivered | UnreadableAnswer

    @property
    def failure(self) -> Rejected | OutcomeUnknown | None:
        """What an error in place of pictures means for the work, where the answer is one."""
        return error_in_success(self.facts.error) if isinstance(self.facts, ErrorAnswer) else None

    def read(self) -> bytes:
        """The whole body, from its start."""
        self.body.seek(0)
        return self.body.read()

    def close(self) -> None:
        self.body.close()


@dataclass(slots=True)
class UpstreamStream:
    """A 2xx answer whose events are still to come. Somebody must `close()` it."""

    status: int
    headers: list[tuple[str, str]]
    request_id: str | None
    left_out: list[str]
    _response: httpx.Response
    _max_bytes: int
    _on_close: Callable[[], None]
    _closed: bool = field(default=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """All bytes that come. Raises `OutcomeUnknown` behind them when they break off or are too many."""
        length = 0
        try:
            async for chunk in self._response.aiter_bytes():
                length += len(chunk)
                if length > self._max_bytes:
                    raise OutcomeUnknown("The image service's answer is larger than allowed.")
                yield chunk
        except TRANSPORT_ERRORS as error:
            rest = _unread(self._response)
            if rest and length + len(rest) <= self._max_bytes:
                yield rest
            raise _broken(error) from error

    async def close(self) -> None:
        """Closes the connection, unless the answer was read to its end."""
        if self._closed:
            return
        self._closed = True
        self._on_close()
        await self._response.aclose()


async def spooled(
    response: httpx.Response, route: Route, max_bytes: int, left_out: list[str]
) -> UpstreamAnswer:
    """A response read to its end, in bounded memory; `max_bytes` caps its decoded size.

    Raises `OutcomeUnknown`, and the transport's errors.
    """
    media_type = media_type_of(response)
    scan = answer_scan(route, media_type)
    body: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOL_IN_MEMORY_BYTES)  # noqa: SIM115
    length = 0
    try:
        async for chunk in response.aiter_bytes():
            length += len(chunk)
            if length > max_bytes:
                raise OutcomeUnknown("The image service's answer is larger than allowed.")
            body.write(chunk)
            scan.feed(chunk)
        facts = _facts(scan, body)
    except BaseException:
        body.close()
        raise
    return UpstreamAnswer(
        status=response.status_code,
        headers=headers_back(response),
        body=body,
        length=length,
        request_id=request_id_of(response),
        left_out=left_out,
        media_type=media_type,
        facts=facts,
    )


def _facts(scan: AnswerScan, body: IO[bytes]) -> Delivered | UnreadableAnswer:
    try:
        return scan.delivered(body)
    except UnreadableAnswer as unreadable:
        return unreadable


def headers_back(response: httpx.Response) -> list[tuple[str, str]]:
    """The headers of a service that its client may see."""
    headers = [
        (name, value)
        for name, value in response.headers.multi_items()
        if name in ANSWER_HEADERS or name.startswith(ANSWER_HEADER_PREFIX)
    ]
    disposition = response.headers.get("content-disposition", "")
    if DISPOSITION.fullmatch(disposition):
        headers.append(("content-disposition", disposition))
    return headers


def media_type_of(response: httpx.Response) -> str:
    header: str = response.headers.get("content-type", "")
    return header.partition(";")[0].strip().lower()


def request_id_of(response: httpx.Response) -> str | None:
    return plain(response.headers.get("x-request-id") or response.headers.get("apim-request-id"))


def _unread(response: httpx.Response) -> bytes:
    """What had come when the connection broke while its reader was busy: aiohttp keeps it, but tells of the
    break first. Encoded bytes are left, for nobody asked for them.
    """
    stream = response.stream
    if not isinstance(stream, AiohttpResponseStream) or "content-encoding" in response.headers:
        return b""
    content = stream._aiohttp_response.content  # noqa: SLF001 - its public reader only raises from here on
    return content._read_nowait(-1)  # noqa: SLF001


def _broken(error: httpx.HTTPError | aiohttp.ClientError) -> UpstreamFailure:
    """A stream that has begun cannot have failed to start."""
    failure = transport_failure(error)
    return failure if isinstance(failure, OutcomeUnknown) else OutcomeUnknown(str(failure))
