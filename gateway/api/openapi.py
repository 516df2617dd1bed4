"""How the API describes itself, where Litestar cannot see it: bodies that handlers read by hand, and errors.

The published file is made from the routes by `ecogate openapi`; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
    SecurityScheme,
)

from gateway import __version__
from gateway.images.request import MAX_IMAGES, MAX_PARTIAL_IMAGES, MAX_PROMPT_CHARACTERS, MAX_STEPS

DESCRIPTION = """\
A gateway in front of image-generation services. The `/v1` routes speak the OpenAI Images API; `/eco/v1` shows
what was used, what is left and what a request would cost.

Energy is facility energy in Wh, water is consumption on and off site in mL, carbon is location-based use plus
embodied in gCO2e, each for the whole request. All of them are estimates with a low and a high bound.
"""


class OpenAIError(msgspec.Struct):
    """What went wrong. `eco` names the budget that stands in the way, with the amounts the caller may see."""

    message: str
    type: str
    param: str | None
    code: str | None
    eco: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET


class ErrorBody(msgspec.Struct):
    """OpenAI's error envelope, on every route."""

    error: OpenAIError


def errors(*statuses: int) -> dict[int, ResponseSpec]:
    """The error answers of a route, by status."""
    return {
        status: ResponseSpec(ErrorBody, description=MEANINGS[status], generate_examples=False)
        for status in statuses
    }


MEANINGS = {
    400: "The request is malformed; nothing was sent or charged",
    401: "No API key, or one that is unknown, revoked or malformed",
    402: "A budget has no room (`eco_budget_exceeded`, `eco_request_too_large`); not to be repeated",
    403: "The key's role may not do this",
    404: "Unknown URL, model or record",
    413: "The body is too large",
    415: "The body is of another type",
    429: "Requests in flight hold the room that is left, or the image service is rate limited",
    502: "The image service failed",
    503: "The budget store or every image service is unavailable; nothing was charged",
    504: "The image service did not answer in time; charged as estimated",
}


def _generation() -> Schema:
    def field(kind: OpenAPIType, description: str, **limits: Any) -> Schema:
        return Schema(type=kind, description=description, **limits)

    return Schema(
        type=OpenAPIType.OBJECT,
        description="A body of the OpenAI Images API. Fields that are not listed here are forwarded.",
        required=["model", "prompt"],
        properties={
            "model": field(OpenAPIType.STRING, "A name from `GET /v1/models`"),
            "prompt": field(OpenAPIType.STRING, "What to draw", max_length=MAX_PROMPT_CHARACTERS),
            "n": field(OpenAPIType.INTEGER, "How many images", minimum=1, maximum=MAX_IMAGES, default=1),
            "size": field(OpenAPIType.STRING, "`auto` or WIDTHxHEIGHT in pixels"),
            "quality": field(OpenAPIType.STRING, "`auto`, `low`, `medium`, `high` or what the model knows"),
            "num_inference_steps": field(
                OpenAPIType.INTEGER, "Denoising steps, also `steps`", minimum=1, maximum=MAX_STEPS
            ),
            "partial_images": field(
                OpenAPIType.INTEGER, "Partial images", minimum=0, maximum=MAX_PARTIAL_IMAGES
            ),
            "response_format": field(OpenAPIType.STRING, "`b64_json` or `url`, where the service knows it"),
            "output_format": field(OpenAPIType.STRING, "`png`, `jpeg`, `webp` or `gif`"),
            "stream": field(OpenAPIType.BOOLEAN, "Only `false` in this version"),
        },
        additional_properties=True,
    )


@dataclass
class GenerationOperation(Operation):
    """An operation whose handler reads a generations body by hand."""

    def __post_init__(self) -> None:
        media = OpenAPIMediaType(schema=_generation())
        self.request_body = RequestBody(content={"application/json": media}, required=True)


def openapi_config() -> OpenAPIConfig:
    """Title, description and security of the published description."""
    return OpenAPIConfig(
        title="ecogate",
        version=__version__,
        description=DESCRIPTION,
        path="/docs",
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="http", scheme="bearer", description="An API key of the gateway")
            }
        ),
        security=[{"key": []}],
    )
