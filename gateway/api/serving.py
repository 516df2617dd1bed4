"""One request for images between the door and its life: read, traced, served, or refused with an error.

The same for every route and every form of body. Refuses to know how bodies are read.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from litestar.exceptions import HTTPException

from gateway.api.door import PLACE_KEY, STATE_KEY
from gateway.api.options import (
    IDEMPOTENCY_KEY,
    allows_downgrade,
    deadline,
    idempotency_key,
    retry_count,
    wants_footprint,
)
from gateway.api.rate_limits import limit_headers, refused
from gateway.api.responses import answer_app
from gateway.errors import ApiError, BudgetExceeded
from gateway.lifecycle.ask import Ask, ClientGone
from gateway.telemetry import names, tracing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from litestar import Request
    from litestar.types import ASGIApp

    from gateway.identity.subject import Subject
    from gateway.images.request import ImageRequest
    from gateway.lifecycle.ask import Served
    from gateway.lifecycle.lanes import Place
    from gateway.lifecycle.serve import Images

CLIENT_CLOSED = 499


async def answered(
    request: Request[Any, Any, Any],
    subject: Subject,
    images: Images,
    *,
    route: str,
    read: Callable[[], Awaitable[ImageRequest]],
) -> ASGIApp:
    """The answer to what `read` finds in the body, if the key may send it now.

    Raises `ApiError`; `route` names the server span.
    """
    request_id: str = request.scope["state"][STATE_KEY]
    place: Place = request.scope["state"][PLACE_KEY]
    headers = {name.lower(): value for name, value in request.headers.items()}
    finish = images.telemetry.tracing.finish_request
    limits: Mapping[str, str] = {}
    with images.telemetry.tracing.request_span(route, headers, request_id=request_id) as span:
        try:
            standing = await images.rates.take(subject)
            limits = limit_headers(standing)
            if standing is not None and standing.wait_ms:
                raise refused(standing)
            asked = await read()
            try:
                key, tries = (
                    idempotency_key(request.headers.getall(IDEMPOTENCY_KEY, [])),
                    retry_count(headers),
                )
                ask = partial(
                    Ask,
                    request_id,
                    subject,
                    asked,
                    retry_count=tries,
                    claim=await images.repeats.claim(subject, asked, key=key, retry_count=tries),
                    deadline_s=deadline(headers),
                    include_footprint=wants_footprint(headers),
                    allow_downgrade=allows_downgrade(headers),
                    started=time.monotonic() - place.waited_s,
                )
            except BaseException:
                asked.close()
                raise
            place.leave()
            async with _watched(request) as gone:
                served = await images.serve(ask(gone=gone))
        except ApiError as error:
            decision = {names.DECISION: "deny" if isinstance(error, BudgetExceeded) else None}
            finish(span, status=error.status, attributes=decision, error=type(error).__name__)
            error.headers = {**limits, **error.headers}
            raise
        except ClientGone:
            finish(span, status=CLIENT_CLOSED, error="client_gone")
            raise HTTPException(status_code=CLIENT_CLOSED, detail="The client closed the request.") from None
        finish(span, status=served.answer.status, attributes=_outcome(served))
        return answer_app(served, limits)


def _outcome(served: Served) -> dict[str, Any]:
    outcome = {names.DECISION: served.decision, names.DEPLOYMENT: served.route.deployment.id}
    if served.footprint is None:
        return outcome
    figures = tracing.footprint_attributes(served.footprint, basis=served.basis)
    return {**outcome, names.ZONE: served.footprint.zone, **figures}


@asynccontextmanager
async def _watched(request: Request[Any, Any, Any]) -> AsyncIterator[asyncio.Event]:
    """An event that is set when the client hangs up; the body has been read before."""
    gone = asyncio.Event()

    async def watch() -> None:
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                gone.set()
                return

    watcher = asyncio.ensure_future(watch())
    try:
        yield gone
    finally:
        watcher.cancel()
