"""Serves the dashboard's static files with the headers that they need.

Litestar's static files take no response headers, so a middleware adds them. Refuses to know what the pages
show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.static_files import create_static_files_router

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from litestar import Router
    from litestar.types import ASGIApp, Message, Receive, Scope, Send


def pages_router(path: str, directory: Path, headers: Mapping[str, str]) -> Router:
    """The files of `directory` below `path`, the index for `path` itself; each goes out with `headers`."""
    added = [(name.encode(), value.encode()) for name, value in headers.items()]

    def with_headers(app: ASGIApp) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_more(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], *added]
                await send(message)

            await app(scope, receive, send_more)

        return serve

    return create_static_files_router(
        path=path,
        directories=[directory],
        html_mode=True,
        middleware=[with_headers],
        include_in_schema=False,
    )
