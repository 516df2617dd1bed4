"""Responses and chat completions: conversations that can make images, under OpenAI's paths and Azure's.

Reads bytes into a strict request and hands it on, like the image routes. Refuses to know prices, budgets and
deployments.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from litestar import Request, Router, post
from litestar.openapi.spec import OpenAPIMediaType, RequestBody, Schema
from litestar.params import FromPath
from litestar.types import ASGIApp

from gateway.api.bodies import read_json
from gateway.api.images import ERRORS
from gateway.api.openapi import JSON, ImagesOperation, errors
from gateway.api.parts import Part
from gateway.api.schemas import CHAT, CHAT_EXAMPLE, CONVERSATION_ANSWER, EVENTS, RESPONSE, RESPONSE_EXAMPLE
from gateway.api.serving import answered
from gateway.conversations.chat import read_chat
from gateway.conversations.responses import read_response
from gateway.identity.subject import Subject
from gateway.images.request import ImageRequest
from gateway.lifecycle.serve import Images

AnyRequest = Request[Any, Any, Any]
RESPONSES, CHAT_COMPLETIONS = "/responses", "/chat/completions"


@dataclass
class ConversationOperation(ImagesOperation):
    """An operation that answers with a conversation, images included."""

    body: ClassVar[Schema] = RESPONSE
    example: ClassVar[Any] = RESPONSE_EXAMPLE

    def __post_init__(self) -> None:
        super().__post_init__()
        media = OpenAPIMediaType(schema=self.body, example=self.example)
        self.request_body = RequestBody(content={JSON: media}, required=True)
        self.answer().content = {
            JSON: OpenAPIMediaType(schema=CONVERSATION_ANSWER),
            "text/event-stream": OpenAPIMediaType(schema=EVENTS),
        }


@dataclass
class ChatOperation(ConversationOperation):
    """The same with messages."""

    body = CHAT
    example = CHAT_EXAMPLE


@post(
    RESPONSES,
    status_code=200,
    tags=["images"],
    summary="Have a text model make images",
    operation_class=ConversationOperation,
    responses=errors(*ERRORS),
)
async def respond(request: AnyRequest, subject: Part[Subject], images: Part[Images]) -> ASGIApp:
    """A response with text and images, as `POST /v1/responses` of the OpenAI API."""
    return await answered(
        request, subject, images, route=f"/v1{RESPONSES}", read=partial(_response, request, images)
    )


@post(
    CHAT_COMPLETIONS,
    status_code=200,
    tags=["images"],
    summary="Have a chat model make images",
    operation_class=ChatOperation,
    responses=errors(*ERRORS),
)
async def chat(request: AnyRequest, subject: Part[Subject], images: Part[Images]) -> ASGIApp:
    """A chat completion with images in its messages, where a deployment offers that."""
    return await answered(
        request, subject, images, route=f"/v1{CHAT_COMPLETIONS}", read=partial(_chat, request, images)
    )


@post(f"/deployments/{{deployment:str}}{CHAT_COMPLETIONS}", status_code=200)
async def azure_chat(
    request: AnyRequest, subject: Part[Subject], images: Part[Images], deployment: FromPath[str]
) -> ASGIApp:
    """The same under Azure's path, which names the model."""
    read = partial(_chat, request, images, model=deployment)
    return await answered(request, subject, images, route=f"/v1{CHAT_COMPLETIONS}", read=read)


async def _response(request: AnyRequest, images: Images) -> ImageRequest:
    return read_response(await read_json(request, max_bytes=images.max_edit_json_bytes))


async def _chat(request: AnyRequest, images: Images, *, model: str | None = None) -> ImageRequest:
    return read_chat(await read_json(request, max_bytes=images.max_edit_json_bytes), model=model)


def conversation_routers(*, max_json_bytes: int) -> list[Router]:
    """Both below `/v1` and Azure's `/openai`; bodies may carry pictures."""
    limit = max_json_bytes
    return [
        Router(path="/v1", route_handlers=[respond, chat], request_max_body_size=limit),
        Router(
            path="/openai/v1",
            route_handlers=[respond, chat],
            request_max_body_size=limit,
            include_in_schema=False,
        ),
        Router(
            path="/openai",
            route_handlers=[respond, azure_chat],
            request_max_body_size=limit,
            include_in_schema=False,
        ),
    ]
