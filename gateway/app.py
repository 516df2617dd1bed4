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
from gateway.api.raises import raises_router
from gateway.api.system import healthz, metrics, readyz
from gateway.budgets.policy import no_policies
<<<<<<< HEAD
from gateway.budgets.raises import RaiseBook
from gateway.budgets.witness import recovery_facts
=======
>>>>>>> main
from gateway.configuration import read_configuration
from gateway.dashboard.pages import documentation, pages
from gateway.footprint.factors import load_factors
from gateway.lifecycle.plan import Configuration
from gateway.running import Running
from gateway.settings import Settings
from gateway.upstreams.deployments import DeploymentSet
from gateway.upstreams.rules import Rules

if TYPE_CHECKING:
    from litestar.types import ASGIApp
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger(__name__)

GC_THRESHOLDS = (50_000, 20, 100)
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
            **{name: Provide(running.part(name), sync_to_thread=False) for name in Running.PARTS},
        },
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[running.open],
        openapi_config=openapi_config(path=docs.path, page=docs.page, headers=docs.headers),
        logging_config=None,
        cors_config=cors(settings.cors_origins),
    )
    complete(app.openapi_schema)
    return app


def describe() -> str:
    """The OpenAPI description of this version as YAML; needs no store, file or environment."""
    settings = Settings(_env_file=None)
    configuration = Configuration(
        no_policies(), DeploymentSet((), rules=Rules(), version=""), load_factors(), loaded_at=0
    )
    return as_yaml(routes(settings, Running(settings, configuration, None)).openapi_schema)
<<<<<<< HEAD


class Running:
    """The parts of one process, from `open` to its end."""

    PARTS = ("configuration", "images", "keys", "ledger", "raises", "readiness", "telemetry", "usage")

    def __init__(
        self, settings: Settings, configuration: Configuration, span_exporter: SpanExporter | None
    ) -> None:
        self._settings = settings
        self._files = Reloading(
            configuration,
            read=lambda: read_configuration(settings),
            paths=[
                path
                for path in (settings.deployments, settings.policies, settings.factors)
                if path is not None
            ],
        )
        self._span_exporter = span_exporter
        self._parts: dict[str, Any] = {}
        self._background: dict[str, asyncio.Task[None]] = {}

    def part(self, name: str) -> Callable[[], Any]:
        """A provider of one part by its name; the configuration is the snapshot in force at that moment."""
        if name == "configuration":
            return lambda: self._files.current
        return lambda: self._parts[name]

    @asynccontextmanager
    async def open(self, _: Litestar) -> AsyncIterator[None]:
        """Opens the stores, starts the background work, and at the end drains what is in flight."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            spans = telemetry.start(otlp_endpoint=settings.otlp_endpoint, exporter=self._span_exporter)
            stack.callback(spans.shutdown)
            redis_url = await self._redis_url(stack)
            redis = connect(redis_url, timeout_ms=settings.store_timeout_ms)
            stack.push_async_callback(redis.aclose)
            watch = ServerWatch(redis, looked=spans.store_clock)
            await watch.look()
            if watch.trouble is not None:
                logger.warning("%s; nothing is admitted until it does", watch.trouble)
            database_url = settings.database_url.get_secret_value() if settings.database_url else None
            database = await open_database(database_url, settings.data_dir)
            stack.push_async_callback(database.close)
            keys = KeyRegistry(database, secret := pepper(settings.data_dir, settings), settings.admin_key)
            ledger = Ledger(
                redis,
                lease_s=settings.lease_s,
                timeout_ms=settings.store_timeout_ms,
                archive=Archive(database),
                grace_ms=grace_ms(redis_url),
                trouble=lambda: watch.trouble,
            )
            raises, editions = await self._agreed(redis)
            upstreams = Upstreams(
                connect_timeout_s=settings.upstream_connect_timeout_s,
                read_timeout_s=settings.upstream_read_timeout_s,
            )
            stack.push_async_callback(upstreams.close)
            settlements = Settlements(
                ledger,
                spans,
                settings.lease_s,
                settings.data_dir / UNPOSTED,
                Uses(settings.data_dir / EMERGENCY),
            )
            stack.push_async_callback(settlements.close)
            images = Images(
                configuration=lambda: self._files.current,
                ledger=ledger,
                settlements=settlements,
                upstreams=upstreams,
                telemetry=spans,
                max_answer_bytes_per_image=settings.max_answer_bytes_per_image,
                max_edit_json_bytes=settings.max_edit_json_bytes,
                repeats=Repeats(secret),
                leases=Leases(redis, Fleet(), spans, settings.store_timeout_ms),
                stream_heartbeat_s=settings.stream_heartbeat_s or None,
                grid=Grid(),
            )
            sources = httpx.AsyncClient(timeout=SIGNAL_TIMEOUT_S, trust_env=False, follow_redirects=False)
            stack.push_async_callback(sources.aclose)
            reader = connect(redis_url, timeout_ms=CONSUMER_TIMEOUT_MS)
            stack.push_async_callback(reader.aclose)
            journal = JournalConsumer(reader, database)
            feed = Feed(reader, sources, images.grid, Watching(lambda: self._files.current))
            self._parts = {
                "images": images,
                "keys": keys,
                "ledger": ledger,
                "raises": raises,
                "readiness": Readiness(
                    {
                        "ledger": ledger.ping,
                        "database": database.ping,
                        "background": self._check_background,
                    },
                    lambda: {**self._facts(), "store": _store_facts(watch, settlements)},
                ),
                "telemetry": spans,
                "usage": UsageQueries(database),
            }
            stack.push_async_callback(self._stop_background)
            self._start("store", watch.run())
            self._start("journal", journal.run())
            self._start("settlements", settlements.retry())
            self._start("leases", settlements.renew())
            self._start("expiry", settlements.expire())
            self._start("signals", feed.run())
            self._share(images, LatencyShare(reader, images.latencies))
            self._start("alerts", self._deliveries(stack, reader, spans).run())
            self._start("raises", raises.watch(lambda: int(time.time() * 1000)))
            self._start("editions", editions.watch(lambda: self._files.current.policies.version))
            self._start("configuration", self._files.watch(spans, editions))
            try:
                yield
            finally:
                await images.drain(settings.drain_s)
                journal.stop()
                await self._background["journal"]

    async def _redis_url(self, stack: AsyncExitStack) -> str:
        """The real server's URL, or that of the embedded one, which is started (or joined) here."""
        settings = self._settings
        if settings.redis_url is not None:
            return settings.redis_url.get_secret_value()
        embedded = await asyncio.to_thread(
            EmbeddedValkey.start, settings.data_dir, binary=settings.redis_server_bin
        )
        stack.push_async_callback(asyncio.to_thread, embedded.stop)
        return embedded.url

    async def _agreed(self, redis: Redis) -> tuple[RaiseBook, Editions]:
        """What all gateways agree on about policies: raises, and which version is in force."""
        timeout_ms = self._settings.store_timeout_ms
        raises = RaiseBook(redis, timeout_ms=timeout_ms, changed=self._files.raised)
        editions = Editions(redis, timeout_ms=timeout_ms, numbered=self._files.numbered)
        with contextlib.suppress(LedgerUnavailable):
            await raises.read()
            await editions.announce(self._files.current.policies.version)
        return raises, editions

    def _deliveries(self, stack: AsyncExitStack, redis: Redis, spans: telemetry.Telemetry) -> Deliveries:
        http = httpx.AsyncClient(timeout=ALERT_TIMEOUT_S, trust_env=False, follow_redirects=False)
        stack.push_async_callback(http.aclose)
        queue = AlertQueue(redis, timeout_ms=CONSUMER_TIMEOUT_MS)
        return Deliveries(queue, http, lambda: self._files.current.policies, spans)

    def _share(self, images: Images, durations: LatencyShare) -> None:
        """Keeps this process's leases alive, and its view of what all gateways know young."""
        self._start("capacity", images.leases.renew())
        self._start("fleet", images.leases.watch(lambda: self._files.current.deployments))
        self._start("latency", durations.run(lambda: self._files.current.deployments))

    def _facts(self) -> dict[str, Any]:
        configuration = self._files.current
        return {
            "configuration": self._files.report(),
            "policies": {
                "version": configuration.policies.version,
                "budgets": len(configuration.policies.budgets),
                "on_store_down": {one.name: one.on_store_down for one in configuration.policies.budgets},
            },
            "deployments": [deployment.id for deployment in configuration.deployments.deployments],
            "factor_set": configuration.factors.version,
        }

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._background[name] = asyncio.create_task(work, name=name)
        task.add_done_callback(_report)

    async def _check_background(self) -> None:
        ended = [name for name, task in self._background.items() if task.done()]
        if ended:
            raise StoreError(f"background work has ended: {', '.join(ended)}")

    async def _stop_background(self) -> None:
        """Cancels all of it until it has ended: a library that is cancelled while it connects may take that
        for a failed connection, after which its caller goes on."""
        running = set(self._background.values())
        while running:
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=STOP_AGAIN_S)


def _store_facts(watch: ServerWatch, settlements: Settlements) -> dict[str, Any]:
    offset_s = watch.clock_offset_s
    return {
        "clock_offset_s": None if offset_s is None else round(offset_s, 3),
        "clock_alarm": watch.clock_alarm,
        "ledger_recovery": recovery_facts(settlements.recovered.values()),
    }


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.critical("background work %s ended unexpectedly", task.get_name(), exc_info=task.exception())
=======
>>>>>>> main
