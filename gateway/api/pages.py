"""Serves files for people: the dashboard's below its path, and the page about the API in Litestar's frame.

Both go out with headers that Litestar's own means cannot add to files, so a middleware does. Refuses to know
what the pages show and which headers they need.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from litestar import MediaType, Response, Router
from litestar.exceptions import NotFoundException
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.static_files import create_static_files_router

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from litestar import Request
    from litestar.types import ASGIApp, Message, Receive, Scope, Send


class DocumentationPage(OpenAPIRenderPlugin):
    """A file of ours as the page about the API; Litestar's own pages load code from other hosts."""

    def __init__(self, file: Path) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)
        self._file = file

    def render(self, _request: Request[Any, Any, Any], _openapi_schema: dict[str, Any]) -> bytes:
        """The file's bytes."""
        return self._file.read_bytes()


def documentation_router(path: str, headers: Mapping[str, str]) -> Router:
    """Where Litestar puts the page about the API and the description; each goes out with `headers`."""
    return Router(
        path,
        route_handlers=[],
        middleware=[_with_headers(headers)],
        after_request=_no_page_for_unknown,
        include_in_schema=False,
    )


def pages_router(path: str, directory: Path, headers: Mapping[str, str]) -> Router:
    """The files of `directory` below `path`, the index for `path` itself; each goes out with `headers`."""
    return create_static_files_router(
        path=path,
        directories=[directory],
        html_mode=True,
        middleware=[_with_headers(headers)],
        include_in_schema=False,
    )


def _with_headers(headers: Mapping[str, str]) -> Callable[[ASGIApp], ASGIApp]:
    added = [(name.encode(), value.encode()) for name, value in headers.items()]

    def around(app: ASGIApp) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_more(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], *added]
                await send(message)

            await app(scope, receive, send_more)

        return serve

    return around


def _no_page_for_unknown(response: Response[Any]) -> Response[Any]:
    """Litestar answers unknown paths here with a page; ours get the same error everywhere."""
    if response.status_code == HTTPStatus.NOT_FOUND:
        raise NotFoundException
    return response
