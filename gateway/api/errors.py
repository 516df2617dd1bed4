"""Every error as OpenAI's clients read it, the framework's own included.

Knows the error envelope and nothing else; what an error means is decided where it is raised.
"""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from litestar import MediaType, Response
from litestar.exceptions import HTTPException

from gateway.errors import ApiError, InvalidRequest, LedgerUnavailable, NotFound, StoreError, Unavailable

if TYPE_CHECKING:
    from litestar import Request
    from litestar.types import ExceptionHandlersMap

logger = logging.getLogger(__name__)

CODES = {
    400: "invalid_request",
    404: "unknown_url",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    415: "unsupported_media_type",
}
SERVER_ERROR = 500
NOT_OFFERED = re.compile(
    r"/(?:v1|openai/v1|openai)/(responses|chat/completions|conversations|batches|files|uploads|videos)(?:/.*)?"
)
WHY_NOT: dict[str, str] = {
    "responses": "Responses are answered at once and not kept here, to be neither fetched nor cancelled.",
    "chat/completions": "Chat completions are not kept here, so they cannot be fetched.",
    "conversations": "Conversations are not kept here: send them whole, as 'input'.",
    "batches": "Batches are not offered: what runs later cannot be held against a budget and settled.",
    "files": "Files are not kept here: send pictures in forms or as data URLs.",
    "uploads": "Files are not kept here: send pictures in forms or as data URLs.",
    "videos": "Videos are not offered: nothing here can meter them.",
}
"""Parts of the OpenAI API that people look for here, and why they are missing."""


def as_response(error: ApiError) -> Response[dict[str, Any]]:
    """An error in OpenAI's shape with its own headers."""
    return Response(
        error.body(), status_code=error.status, headers=dict(error.headers), media_type=MediaType.JSON
    )


def _api_error(_: Request[Any, Any, Any], error: ApiError) -> Response[dict[str, Any]]:
    return as_response(error)


def _store_error(_: Request[Any, Any, Any], error: StoreError) -> Response[dict[str, Any]]:
    code = "budget_store_unavailable" if isinstance(error, LedgerUnavailable) else "store_unavailable"
    logger.warning("a store did not answer: %s", error)
    return as_response(
        Unavailable("A store that this needs cannot be reached.", code=code, headers={"retry-after": "2"})
    )


def _framework_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    status = error.status_code
    if status >= SERVER_ERROR:
        return _unexpected(request, error)
    if status == HTTPStatus.NOT_FOUND:
        return as_response(_not_found(request))
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() != "content-type"}
    code = CODES.get(status, "invalid_request")
    return as_response(InvalidRequest(error.detail, code=code, status=status, headers=headers))


def _not_found(request: Request[Any, Any, Any]) -> NotFound:
    missing = NOT_OFFERED.fullmatch(request.url.path)
    if missing is not None:
        return NotFound(WHY_NOT[missing[1]], code="not_offered")
    return NotFound(f"Unknown URL: {request.method} {request.url.path}", code="unknown_url")


def _unexpected(_: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    logger.error("an unexpected error ended a request", exc_info=error)
    return as_response(
        ApiError(
            "The gateway failed unexpectedly.", code="internal_error", headers={"x-should-retry": "false"}
        )
    )


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    ApiError: _api_error,
    StoreError: _store_error,
    HTTPException: _framework_error,
    Exception: _unexpected,
}
