"""Request bodies off the wire: whole JSON in memory, forms into a spool, both with limits and a deadline.

A body that breaks off is no body, whatever its beginning looks like. Refuses to know what bodies ask for.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from litestar.exceptions import HTTPException

from gateway.errors import InvalidRequest
from gateway.images.form import Form, FormReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from litestar import Request

BODY_DEADLINE_S = 30.0
BODY_BYTES_PER_S = 64 * 1024
JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"


def content_type_of(request: Request[Any, Any, Any]) -> str:
    """The media type, without its options."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request[Any, Any, Any], *, max_bytes: int | None = None) -> bytes:
    """The whole JSON body. Raises `InvalidRequest`: 415 for another type, 413 and 408 for its limits."""
    if content_type_of(request) != JSON_TYPE:
        raise _unsupported("The content type must be application/json.")
    body = bytearray()
    async for chunk in _arriving(request, max_bytes):
        body += chunk
    return bytes(body)


async def read_form(
    request: Request[Any, Any, Any], *, before_files: Callable[[Form], Awaitable[None]]
) -> Form:
    """A whole form, which somebody must close. `before_files` sees the fields that come before any file.

    Raises `InvalidRequest`, and what `before_files` raises: then the rest is not read.
    """
    reader = FormReader(request.headers.get("content-type", ""))
    looked = False
    try:
        async for chunk in _arriving(request, None):
            reader.feed(chunk)
            if reader.file_has_begun and not looked:
                looked = True
                await before_files(reader.form)
        return reader.finish()
    except BaseException:
        reader.form.close()
        raise


async def _arriving(request: Request[Any, Any, Any], max_bytes: int | None) -> AsyncIterator[bytes]:
    """The body as it comes. The deadline grows with what has arrived, so that only slow senders meet it."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise _unsupported("Compressed request bodies are refused.")
    declared = request.headers.get("content-length", "0")
    if max_bytes is not None and declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large()
    started, length = time.monotonic(), 0
    chunks = request.stream()
    try:
        while True:
            left_s = started + BODY_DEADLINE_S + length / BODY_BYTES_PER_S - time.monotonic()
            async with asyncio.timeout(max(0.0, left_s)):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            length += len(chunk)
            if max_bytes is not None and length > max_bytes:
                raise _too_large()
            yield chunk
    except TimeoutError:
        raise InvalidRequest("The body did not arrive in time.", code="request_timeout", status=408) from None
    except HTTPException as error:
        # Litestar's answer to a client that hung up in the middle of its body.
        if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise InvalidRequest("The body broke off.", code="incomplete_body") from None
        raise


def _unsupported(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="unsupported_media_type", status=415)


def _too_large() -> InvalidRequest:
    return InvalidRequest("The body is too large.", code="request_too_large", status=413)
