"""How the API describes itself: what Litestar cannot see in the handlers that read bodies by hand."""

from __future__ import annotations

from litestar.openapi import OpenAPIConfig

from gateway import __version__


def openapi_config() -> OpenAPIConfig:
    return OpenAPIConfig(title="ecogate", version=__version__, path="/docs")
