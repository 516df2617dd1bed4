"""The gateway as one ASGI application: its routes, in front of the parts that `running` opens.

What is not listed here does not exist for a client. Refuses to know how parts are built.
"""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING

from litestar import Litestar, Router
from litestar.di import Provide

from gateway.api.admin import admin_router
from gateway.api.auth import provide_subject
from gateway.api.browsers import cors
from gateway.api.conversations import conversation_routers
from gateway.api.door import Door
from gateway.api.eco import eco_router
from gateway.api.errors import EXCEPTION_HANDLERS
from gateway.api.estimate import estimate
from gateway.api.grid import grid_router
from gateway.api.images import images_routers
from gateway.api.openapi import as_yaml, complete, openapi_config
from gateway.api.pages import pages_router
from gateway.api.parts import after_subject
from gateway.api.raises import raises_router
from gateway.api.system import healthz, metrics, readyz
from gateway.budgets.policy import no_policies
from gateway.configuration import read_configuration
from gateway.dashboard.pages import documentation, pages
from gateway.footprint.factors import load_factors
from gateway.lifecycle.plan import Configuration
from gateway.running import Running
from gateway.settings import Settings
from gateway.upstreams.deployments import DeploymentSet
from gateway.upstreams.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from litestar.types import ASGIApp
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger(__name__)

GC_THRESHOLDS = (50_000, 20, 100)
WITHOUT_A_CALLER = {"keys", "readiness", "telemetry"}
"""The parts by which a caller is found, and those of routes that everybody may ask."""
SIGNAL_TIMEOUT_S = 15.0
UNPOSTED, EMERGENCY = "unposted", "emergency"
STOP_AGAIN_S = 1.0
CONSUMER_TIMEOUT_MS = 10_000
"""The journal's reader may wait; only the ledger's calls stand in the way of a request."""


def create_app(settings: Settings | None = None, *, span_exporter: SpanExporter | None = None) -> ASGIApp:
    """The gateway as an ASGI application.

    Reads the environment unless `settings` are given. Raises `ConfigError` when a file is wrong;
    `span_exporter` takes the spans instead of an OTLP endpoint.
    """
    settings = settings or Settings()
    running = Running(settings, read_configuration(settings), span_exporter)
    return Door(routes(settings, running))


def serving() -> ASGIApp:
    """`create_app` for a process that only serves: what is built so far leaves the garbage collector alone.

    Full collections would stop every request for milliseconds to look at modules that never go away.
    """
    app = create_app()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    return app


def routes(settings: Settings, running: Running) -> Litestar:
    """Every route of the gateway. What is not listed here does not exist."""
    dashboard, docs = pages(), documentation()
    app = Litestar(
        route_handlers=[
            *images_routers(max_json_bytes=settings.max_json_bytes, max_form_bytes=settings.max_form_bytes),
            *conversation_routers(max_json_bytes=settings.max_edit_json_bytes),
            Router(
                path="/eco/v1",
                route_handlers=[estimate],
                request_max_body_size=settings.max_edit_json_bytes,
            ),
            eco_router(),
            grid_router(),
            admin_router(),
            raises_router(),
            healthz,
            readyz,
            metrics,
            pages_router(dashboard.path, dashboard.directory, dashboard.headers),
        ],
        dependencies={
            "subject": Provide(provide_subject),
            **{name: Provide(_provider(running, name), sync_to_thread=False) for name in Running.PARTS},
        },
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[running.open],
        openapi_config=openapi_config(path=docs.path, page=docs.page, headers=docs.headers),
        logging_config=None,
        cors_config=cors(settings.cors_origins),
    )
    complete(app.openapi_schema)
    return app


def _provider(running: Running, name: str) -> Callable[..., Any]:
    part = running.part(name)
    return part if name in WITHOUT_A_CALLER else after_subject(part)


def describe() -> str:
    """The OpenAPI description of this version as YAML; needs no store, file or environment."""
    settings = Settings(_env_file=None)
    configuration = Configuration(
        no_policies(), DeploymentSet((), rules=Rules(), version=""), load_factors(), loaded_at=0
    )
    return as_yaml(routes(settings, Running(settings, configuration, None)).openapi_schema)
