"""How the API describes itself, where Litestar cannot see it: bodies read by hand, headers, errors.

The published file is made from the routes by `ecogate openapi`; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import yaml
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
    Tag,
)

from gateway import __version__
from gateway.api.options import ALLOW_DOWNGRADE, DEADLINE, IDEMPOTENCY_KEY, INCLUDE, LONGEST_S
from gateway.api.pages import DocumentationPage, documentation_router
from gateway.api.rate_limits import LIMIT_HEADERS
from gateway.api.responses import ALWAYS, HEADERS, QUANTITIES
from gateway.api.schemas import (
    CHAT,
    EDIT,
    EDIT_FORM,
    ESTIMATE,
    EVENTS,
    GENERATION,
    GENERATION_EXAMPLE,
    IMAGES,
    READINESS,
    RESPONSE,
    VARIATION_FORM,
)
from gateway.api.sheets import CSV_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from litestar.openapi.spec import OpenAPI

DESCRIPTION = """\
A gateway in front of image-generation services. The `/v1` routes speak the OpenAI API as far as it makes
images; `/eco/v1` shows what was used, what is left and what a request would cost.

Energy is facility energy in Wh, water is consumption on and off site in mL, carbon is location-based use plus
embodied in gCO2e, each for the whole request. All of them are estimates with a low and a high bound.
"""
TAGS = {
    "images": "The OpenAI side",
    "eco": "What was used, what is left, what a request would cost",
    "admin": "API keys and raises of budgets",
    "system": "For operators and machines; no key needed",
}
ERROR_HEADERS = {
    "retry-after": "After how many seconds another try makes sense, where one does",
    "x-should-retry": "`false` where stock clients must not repeat the request by themselves",
}
OPTIONS = {
    INCLUDE: ("Adds the footprint to the answer", Schema(type=OpenAPIType.STRING, enum=["footprint"])),
    DEADLINE: (
        "Seconds in which the answer must be on its way",
        Schema(type=OpenAPIType.NUMBER, exclusive_minimum=0, maximum=LONGEST_S),
    ),
    ALLOW_DOWNGRADE: (
        "Whether the request may be made lighter to fit; left out, the policies decide",
        Schema(type=OpenAPIType.STRING, enum=["true", "false"]),
    ),
    IDEMPOTENCY_KEY: (
        "Makes repetitions of this request within 24 hours one: 409 instead of a second call and charge",
        Schema(
            type=OpenAPIType.STRING,
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
        ),
    ),
}
REQUEST_ID = "Id of this request and, for images, of its record at `/eco/v1/requests/{id}`"
JSON = "application/json"
LIMITED = "429"


class OpenAIError(msgspec.Struct):
    """What went wrong. `eco` names the budget that stands in the way, with the amounts the caller may see."""

    message: str
    type: str
    param: str | None
    code: str | None
    eco: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


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
    409: "The idempotency key belongs to an earlier request; nothing was sent or charged",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is of another type",
    429: "Requests in flight hold the room that is left, or the key or the image service is rate limited",
    502: "The image service failed",
    503: "A store that this needs, or every image service, is unavailable; nothing was charged",
    504: "The image service did not answer in time; charged as estimated",
}


@dataclass
class GenerationOperation(Operation):
    """An operation whose handler reads a generations body by hand."""

    def __post_init__(self) -> None:
        media = OpenAPIMediaType(schema=GENERATION, example=GENERATION_EXAMPLE)
        self.request_body = RequestBody(content={JSON: media}, required=True)


@dataclass
class ImagesOperation(GenerationOperation):
    """An operation that answers with images, or with an error of the image service under its own status."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parameters = [
            Parameter(name=name, param_in="header", required=False, description=meaning, schema=kind)
            for name, (meaning, kind) in OPTIONS.items()
        ]
        answer = self.answer()
        answer.content = {
            JSON: OpenAPIMediaType(schema=IMAGES),
            "text/event-stream": OpenAPIMediaType(schema=EVENTS),
        }
        answer.headers = {
            name: _header(
                meaning,
                OpenAPIType.NUMBER if name.startswith(QUANTITIES) else OpenAPIType.STRING,
                required=name in ALWAYS,
            )
            for name, meaning in (HEADERS | LIMIT_HEADERS).items()
        }
        refused = OpenAPIResponse(
            description="What the image service itself refused, under its own status; nothing was charged",
            content=_answer(self, "400").content,
        )
        self.responses = {**(self.responses or {}), "default": refused}

    def answer(self) -> OpenAPIResponse:
        """The description of a success."""
        return _answer(self, "200")


@dataclass
class EditOperation(ImagesOperation):
    """An edit: a form with files, or JSON."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.request_body = RequestBody(
            content={
                "multipart/form-data": OpenAPIMediaType(schema=EDIT_FORM),
                JSON: OpenAPIMediaType(schema=EDIT),
            },
            required=True,
        )


@dataclass
class VariationOperation(ImagesOperation):
    """A variation: a form with one file."""

    def __post_init__(self) -> None:
        super().__post_init__()
        form = OpenAPIMediaType(schema=VARIATION_FORM)
        self.request_body = RequestBody(content={"multipart/form-data": form}, required=True)


@dataclass
class EstimateOperation(GenerationOperation):
    """The dry run of a body of any route that makes images, as JSON."""

    def __post_init__(self) -> None:
        super().__post_init__()
        bodies = Schema(any_of=[GENERATION, EDIT, RESPONSE, CHAT])
        media = OpenAPIMediaType(schema=bodies, example=GENERATION_EXAMPLE)
        self.request_body = RequestBody(content={JSON: media}, required=True)
        _answer(self, "200").content = {JSON: OpenAPIMediaType(schema=ESTIMATE)}


@dataclass
class SheetOperation(Operation):
    """An operation that answers with CSV, too."""

    def __post_init__(self) -> None:
        sheet = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
        answer = _answer(self, "200")
        answer.content = {**(answer.content or {}), CSV_TYPE.partition(";")[0]: sheet}


@dataclass
class ReadinessOperation(Operation):
    """Ready or not, with the same body."""

    def __post_init__(self) -> None:
        content = {JSON: OpenAPIMediaType(schema=READINESS)}
        _answer(self, "200").content = content
        not_ready = OpenAPIResponse(description="A part does not work", content=content)
        self.responses = {**(self.responses or {}), "503": not_ready}


class _Dumper(yaml.SafeDumper):
    """YAML for readers: several lines of text as such."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def openapi_config(*, path: str, page: Path, headers: Mapping[str, str]) -> OpenAPIConfig:
    """What the published description says of itself.

    It is served below `path`, beside `page`, and both with these headers.
    """
    return OpenAPIConfig(
        title="ecogate",
        version=__version__,
        description=DESCRIPTION,
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, _method, _path: handler.handler_name,
        tags=[Tag(name=name, description=description) for name, description in TAGS.items()],
        render_plugins=[DocumentationPage(page), JsonRenderPlugin(), YamlRenderPlugin()],
        openapi_router=documentation_router(path, headers),
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="http", scheme="bearer", description="An API key of the gateway")
            }
        ),
        security=[{"key": []}],
    )


def complete(description: OpenAPI) -> None:
    """Adds what holds for every operation: the request id, the headers of errors, who needs no key.

    An error that several operations share is described once, among the components.
    """
    shared: dict[str, OpenAPIResponse | Reference] = {}
    for operation in _operations(description):
        if operation.tags == ["system"]:
            operation.security = []
        answers = operation.responses = dict(operation.responses or {})
        for status in answers:
            answer = _answer(operation, status)
            if status.startswith("2"):
                answer.description = "Success"
            names = ["x-request-id", *([] if status.startswith("2") else ERROR_HEADERS)]
            names += LIMIT_HEADERS if status == LIMITED else ()
            headers = {name: Reference(f"#/components/headers/{name}") for name in names}
            answer.headers = {**headers, **(answer.headers or {})}
            if answer.description in MEANINGS.values():
                shared[f"error-{status}"] = answer
                answers[status] = Reference(f"#/components/responses/error-{status}")
    components = description.components
    components.responses = dict(sorted(shared.items()))
    components.headers = {
        "x-request-id": _header(REQUEST_ID, required=True),
        **{name: _header(meaning) for name, meaning in (ERROR_HEADERS | LIMIT_HEADERS).items()},
    }


def as_yaml(description: OpenAPI) -> str:
    """The description as it is published."""
    schema = description.to_schema()
    ordered = {"openapi": schema.pop("openapi"), **schema}
    return yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _operations(description: OpenAPI) -> Iterator[Operation]:
    for item in (description.paths or {}).values():
        if isinstance(item, PathItem):
            yield from (one for one in (item.get, item.post, item.delete) if one is not None)


def _answer(operation: Operation, status: str) -> OpenAPIResponse:
    answer = (operation.responses or {})[status]
    if not isinstance(answer, OpenAPIResponse):
        raise TypeError(answer)
    return answer


def _header(
    description: str, kind: OpenAPIType = OpenAPIType.STRING, *, required: bool = False
) -> OpenAPIHeader:
    return OpenAPIHeader(schema=Schema(type=kind), description=description, required=required)
