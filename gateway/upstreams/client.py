"""Sends one request to one deployment and says how that ended, as far as anyone can know.

The one question that matters for money and electricity is answered by what it raises: did the work surely not
start (`NotStarted`), did the service say no (`Rejected`), or can nobody tell (`OutcomeUnknown`)? It never
retries, follows no redirect, takes no proxy from the environment and refuses to know budgets and routing.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from gateway import __version__
from gateway.upstreams.answers import (
    EVENT_STREAM,
    TRANSPORT_ERRORS,
    UpstreamAnswer,
    UpstreamStream,
    headers_back,
    media_type_of,
    request_id_of,
    spooled,
)
from gateway.upstreams.dialects.registry import dialect_of
from gateway.upstreams.refusals import refusal_of, transport_failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.images.request import ImageRequest
    from gateway.upstreams.deployments import Deployment

IMAGE_DEPLOYMENT = "x-ms-oai-image-generation-deployment"
"""Azure's header that says which deployment draws for a text model."""
IDLE_CONNECTION_S = 2.0
"""Shorter than any server's own idle limit: a request on a connection that the server just closed has an
unknown outcome and would be charged, which costs more than a new connection does."""


@dataclass(slots=True)
class Upstream:
    """One deployment with its own connections; `in_flight` counts requests of this process only (capacity is
    counted by leases, which all gateways share).

    The transport is called without a client around it, which would look for redirects, cookies and
    credentials in every answer; none of these is ever wanted here. `headers` go with every request,
    `timeouts` are in the transport's words.
    """

    deployment: Deployment
    transport: httpx.AsyncBaseTransport
    headers: Mapping[str, str]
    timeouts: Mapping[str, float | None]
    in_flight: int = 0
    _urls: dict[str, httpx.URL] = field(default_factory=dict)

    async def send(
        self, request: ImageRequest, *, trace_headers: Mapping[str, str], max_answer_bytes: int
    ) -> UpstreamAnswer | UpstreamStream:
        """The deployment's answer, read to its end (decoded size capped at `max_answer_bytes`), or a stream.

        A stream is only given when one was asked for. Raises `NotStarted`, `Rejected` or `OutcomeUnknown`.
        Cancelling it closes the connection.
        """
        dialect = dialect_of(self.deployment)
        body, left_out = dialect.body(request, self.deployment)
        outgoing = httpx.Request(
            "POST",
            self._url(dialect.paths[request.route]),
            content=body.sent(),
            headers={
                **self.headers,
                "content-type": body.content_type,
                "content-length": str(body.length),
                **trace_headers,
            },
            extensions={"timeout": self.timeouts},
        )
        self.in_flight += 1
        following = False
        try:
            response = await self.transport.handle_async_request(outgoing)
            try:
                if not response.is_success:
                    raise await refusal_of(response, self.deployment)
                following = request.stream and media_type_of(response) == EVENT_STREAM
                if following:
                    return self._stream(response, max_answer_bytes, left_out)
                return await spooled(response, request.route, max_answer_bytes, left_out)
            finally:
                if not following:
                    await response.aclose()
        except TRANSPORT_ERRORS as error:
            raise transport_failure(error) from error
        finally:
            if not following:
                self._left()

    def _stream(self, response: httpx.Response, max_bytes: int, left_out: list[str]) -> UpstreamStream:
        return UpstreamStream(
            response.status_code,
            headers_back(response),
            request_id_of(response),
            left_out,
            response,
            max_bytes,
            self._left,
        )

    def _url(self, path: str) -> httpx.URL:
        url = self._urls.get(path)
        if url is None:
            one = self.deployment
            version = {"api-version": one.api_version} if one.api_version else None
            url = self._urls[path] = httpx.URL(f"{one.base_url.rstrip('/')}/{path}", params=version)
        return url

    def _left(self) -> None:
        self.in_flight -= 1


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
        forms.append(self._opened(deployment))
        return forms[-1]

    async def close(self) -> None:
        await asyncio.gather(
            *(upstream.transport.aclose() for forms in self._open.values() for upstream in forms)
        )

    def _opened(self, deployment: Deployment) -> Upstream:
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "connection": "keep-alive",
            "user-agent": f"ecogate/{__version__}",
        }
        if deployment.api_key is not None:
            name, secret = dialect_of(deployment).key_header, deployment.api_key.get_secret_value()
            headers[name] = f"Bearer {secret}" if name == "authorization" else secret
        if deployment.image_deployment is not None:
            headers[IMAGE_DEPLOYMENT] = deployment.image_deployment
        timeouts = {"connect": self.connect_timeout_s, "read": self.read_timeout_s, "pool": None}
        return Upstream(deployment, AiohttpTransport(client=_session, verify=_UNUSED), headers, timeouts)


_UNUSED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Sessions have their own. Without this the transport reads all authorities anew for each deployment, during
which nobody is served; it trusts none, should it ever be used."""


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # limit=0: hundreds of slow requests in flight are the normal state; capacity is routing's business.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )
