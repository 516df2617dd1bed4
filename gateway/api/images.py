"""The OpenAI side: generations, edits and variations, under OpenAI's paths and Azure's.

Reads bytes into a strict request and hands it on. Refuses to know prices, budgets and deployments.
"""

from functools import partial
from typing import Any

from litestar import Request, Router, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from gateway.api.bodies import FORM_TYPE, content_type_of, read_form, read_json
from gateway.api.door import STATE_KEY
from gateway.api.models import model, models
from gateway.api.openapi import EditOperation, ImagesOperation, VariationOperation, errors
from gateway.api.options import IDEMPOTENCY_KEY
from gateway.api.parts import Part
from gateway.api.serving import answered
from gateway.errors import InvalidRequest
from gateway.identity.subject import Subject
from gateway.images.edits import least_of, read_edit, read_edit_form, read_variation_form
from gateway.images.form import Form
from gateway.images.request import ImageRequest, Route, read_generation
from gateway.lifecycle.dry_run import refuse_hopeless
from gateway.lifecycle.serve import Images

AnyRequest = Request[Any, Any, Any]
GENERATIONS, EDITS, VARIATIONS = "/images/generations", "/images/edits", "/images/variations"
ERRORS = (400, 401, 402, 404, 408, 409, 413, 415, 429, 502, 503, 504)


@post(
    GENERATIONS,
    status_code=200,
    tags=["images"],
    summary="Make images",
    operation_class=ImagesOperation,
    responses=errors(*ERRORS),
)
async def generate(request: AnyRequest, subject: Part[Subject], images: Part[Images]) -> ASGIApp:
    """Make images from a prompt, as `POST /v1/images/generations` of the OpenAI API."""
    read = partial(_generation, request)
    return await answered(request, subject, images, route="/v1/images/generations", read=read)


@post(
    EDITS,
    status_code=200,
    tags=["images"],
    summary="Edit images",
    operation_class=EditOperation,
    responses=errors(*ERRORS),
)
async def edit(request: AnyRequest, subject: Part[Subject], images: Part[Images]) -> ASGIApp:
    """Make images from images and a prompt: a form with files, or JSON that refers to them."""
    read = partial(_edit, request, subject, images)
    return await answered(request, subject, images, route="/v1/images/edits", read=read)


@post(
    VARIATIONS,
    status_code=200,
    tags=["images"],
    summary="Vary an image",
    operation_class=VariationOperation,
    responses=errors(*ERRORS),
)
async def vary(request: AnyRequest, subject: Part[Subject], images: Part[Images]) -> ASGIApp:
    """Make variations of an image, where a deployment still offers that."""
    read = partial(_variation, request, subject, images)
    return await answered(request, subject, images, route="/v1/images/variations", read=read)


@post("/deployments/{deployment:str}/images/generations", status_code=200)
async def azure_generate(
    request: AnyRequest, subject: Part[Subject], images: Part[Images], deployment: FromPath[str]
) -> ASGIApp:
    """The same under Azure's path, which names the model."""
    read = partial(_generation, request, model=deployment)
    return await answered(request, subject, images, route="/v1/images/generations", read=read)


@post("/deployments/{deployment:str}/images/edits", status_code=200)
async def azure_edit(
    request: AnyRequest, subject: Part[Subject], images: Part[Images], deployment: FromPath[str]
) -> ASGIApp:
    """The same under Azure's path, which names the model."""
    read = partial(_edit, request, subject, images, model=deployment)
    return await answered(request, subject, images, route="/v1/images/edits", read=read)


async def _generation(request: AnyRequest, *, model: str | None = None) -> ImageRequest:
    return read_generation(await read_json(request), model=model)


async def _edit(
    request: AnyRequest, subject: Subject, images: Images, *, model: str | None = None
) -> ImageRequest:
    if content_type_of(request) != FORM_TYPE:
        return read_edit(await read_json(request, max_bytes=images.max_edit_json_bytes), model=model)
    form = await _form(request, subject, images, "images.edit", model=model)
    return _closing(form, partial(read_edit_form, form, model=model))


async def _variation(request: AnyRequest, subject: Subject, images: Images) -> ImageRequest:
    if content_type_of(request) != FORM_TYPE:
        raise InvalidRequest(
            "The content type must be multipart/form-data.", code="unsupported_media_type", status=415
        )
    form = await _form(request, subject, images, "images.variation", model=None)
    return _closing(form, partial(read_variation_form, form))


async def _form(
    request: AnyRequest, subject: Subject, images: Images, route: Route, *, model: str | None
) -> Form:
    async def look(form: Form) -> None:
        if IDEMPOTENCY_KEY in request.headers:
            return  # it may be a repetition, which is told so whatever the budgets have left
        least = least_of(form, route, model=model)
        if least is not None:
            await refuse_hopeless(images, request.scope["state"][STATE_KEY], subject, least)

    return await read_form(request, before_files=look)


def _closing(form: Form, read: partial[ImageRequest]) -> ImageRequest:
    """A form whose fields are refused is not kept."""
    try:
        return read()
    except BaseException:
        form.close()
        raise


def images_routers(*, max_json_bytes: int, max_form_bytes: int) -> list[Router]:
    """Everything below `/v1` and Azure's `/openai`; what is not listed here does not exist."""
    uploads = Router(path="/", route_handlers=[edit, vary], request_max_body_size=max_form_bytes)
    azure_uploads = Router(path="/", route_handlers=[azure_edit], request_max_body_size=max_form_bytes)
    limit = max_json_bytes
    return [
        Router(path="/v1", route_handlers=[generate, models, model, uploads], request_max_body_size=limit),
        Router(
            path="/openai/v1",
            route_handlers=[generate, models, model, uploads],
            request_max_body_size=limit,
            include_in_schema=False,
        ),
        Router(
            path="/openai",
            route_handlers=[azure_generate, models, azure_uploads],
            request_max_body_size=limit,
            include_in_schema=False,
        ),
    ]
