"""The OpenAI side: generations, and the models that may be asked for.

Reads bytes into a strict request, hands it to a life, sends what came of it. Refuses to know prices, budgets
and deployments.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Request, Router, get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath
from litestar.types import ASGIApp

from gateway import telemetry as names
from gateway.api.answers import ModelAnswer, ModelsAnswer
from gateway.api.door import STATE_KEY
from gateway.api.openapi import ImagesOperation, errors
from gateway.api.options import allows_downgrade, deadline, wants_footprint
from gateway.api.parts import Part
from gateway.api.responses import answer_app
from gateway.errors import ApiError, BudgetExceeded, InvalidRequest, NotFound
from gateway.identity.subject import Subject
from gateway.images.request import read_generation
from gateway.lifecycle.ask import Ask, ClientGone, Served
from gateway.lifecycle.plan import Configuration
from gateway.lifecycle.serve import Images

BODY_DEADLINE_S = 30.0
BODY_BYTES_PER_S = 64 * 1024
CLIENT_CLOSED = 499


async def read_body(request: Request[Any, Any, Any]) -> bytes:
    """The whole JSON body. Raises `InvalidRequest`: 415 for another type, 408 when it comes too slowly."""
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise InvalidRequest(
            "The content type must be application/json.", code="unsupported_media_type", status=415
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidRequest(
            "Compressed request bodies are refused.", code="unsupported_media_type", status=415
        )
    declared = request.headers.get("content-length", "0")
    deadline_s = BODY_DEADLINE_S + (int(declared) / BODY_BYTES_PER_S if declared.isdecimal() else 0)
    try:
        async with asyncio.timeout(deadline_s):
            return await request.body()
    except TimeoutError:
        raise InvalidRequest("The body did not arrive in time.", code="request_timeout", status=408) from None
    except HTTPException as error:
        if error.status_code >= 500:  # noqa: PLR2004 - Litestar's answer to a client that hung up mid-body
            raise InvalidRequest("The body broke off.", code="incomplete_body") from None
        raise


@post(
    "/images/generations",
    status_code=200,
    tags=["images"],
    summary="Make images",
    operation_class=ImagesOperation,
    responses=errors(400, 401, 402, 404, 408, 413, 415, 429, 502, 503, 504),
)
async def generate(request: Request[Any, Any, Any], subject: Part[Subject], images: Part[Images]) -> ASGIApp:
    """Make images from a prompt, as `POST /v1/images/generations` of the OpenAI API."""
    request_id: str = request.scope["state"][STATE_KEY]
    headers = {name.lower(): value for name, value in request.headers.items()}
    finish = images.telemetry.finish_request
    with images.telemetry.request_span("/v1/images/generations", headers, request_id=request_id) as span:
        try:
            asked = read_generation(await read_body(request))
            async with _watched(request) as gone:
                served = await images.serve(
                    Ask(
                        request_id,
                        subject,
                        asked,
                        gone,
                        retry_count=_retry_count(headers.get("x-stainless-retry-count")),
                        deadline_s=deadline(headers),
                        include_footprint=wants_footprint(headers),
                        allow_downgrade=allows_downgrade(headers),
                    )
                )
        except ApiError as error:
            decision = {names.DECISION: "deny" if isinstance(error, BudgetExceeded) else None}
            finish(span, status=error.status, attributes=decision, error=type(error).__name__)
            raise
        except ClientGone:
            finish(span, status=CLIENT_CLOSED, error="client_gone")
            raise HTTPException(status_code=CLIENT_CLOSED, detail="The client closed the request.") from None
        finish(span, status=served.answer.status, attributes=_outcome(served))
        return answer_app(served)


@get("/models", tags=["images"], summary="List models", responses=errors(401, 503))
async def models(configuration: Part[Configuration], subject: Part[Subject]) -> ModelsAnswer:
    """The models that may be asked for."""
    del subject
    names = configuration.deployments.models()
    return ModelsAnswer(data=[ModelAnswer(name, configuration.loaded_at) for name in names])


@get("/models/{model:path}", tags=["images"], summary="Show a model", responses=errors(400, 401, 404, 503))
async def model(
    model: FromPath[str], configuration: Part[Configuration], subject: Part[Subject]
) -> ModelAnswer:
    """One model."""
    del subject
    name = model.removeprefix("/")
    if not configuration.deployments.serving(name):
        raise NotFound("The model is not offered here.", code="model_not_found", param="model")
    return ModelAnswer(name, configuration.loaded_at)


def images_router(*, max_json_bytes: int) -> Router:
    """Everything below `/v1`; what is not listed here does not exist."""
    return Router(path="/v1", route_handlers=[generate, models, model], request_max_body_size=max_json_bytes)


def _outcome(served: Served) -> dict[str, Any]:
    return {
        names.DECISION: served.decision,
        names.DEPLOYMENT: served.route.deployment.id,
        names.ZONE: served.footprint.zone,
        **names.footprint_attributes(served.footprint, basis=served.basis),
    }


def _retry_count(header: str | None) -> int | None:
    """How often the client says it sent this before; anything but one or two digits says nothing."""
    return int(header) if header is not None and header.isdecimal() and len(header) < 3 else None  # noqa: PLR2004


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
