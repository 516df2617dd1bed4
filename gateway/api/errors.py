"""Every error as OpenAI's clients read it, the framework's own included.

Knows the error envelope and nothing else; what an error means is decided where it is raised.
"""

from __future__ import annotations

import logging
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
        return as_response(NotFound(f"Unknown URL: {request.method} {request.url.path}", code="unknown_url"))
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() != "content-type"}
    code = CODES.get(status, "invalid_request")
    return as_response(InvalidRequest(error.detail, code=code, status=status, headers=headers))


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
