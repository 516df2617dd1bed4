"""Serving files for people: the headers of every page, and the documentation page in Litestar's frame.

Knows the framework's hooks; what the files are and which headers they need is the dashboard's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from litestar import MediaType, Response
from litestar.exceptions import NotFoundException
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.response.base import ASGIResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from litestar import Request

R = TypeVar("R")


class Page(OpenAPIRenderPlugin):
    """A file of ours as the page about the API; Litestar's own pages load code from other hosts."""

    def __init__(self, file: Path) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)
        self._file = file

    def render(self, _request: Request[Any, Any, Any], _openapi_schema: dict[str, Any]) -> bytes:
        """The file's bytes."""
        return self._file.read_bytes()


def with_headers(headers: Mapping[str, str]) -> Callable[[R], R]:
    """An `after_request` hook that adds headers, and turns Litestar's page for unknown paths into our 404."""

    def add(response: R) -> R:
        if isinstance(response, Response) and response.status_code == 404:  # noqa: PLR2004
            raise NotFoundException
        if isinstance(response, Response | ASGIResponse):
            response.headers.update(headers)
        return response

    return add
