"""The parts of one process: opened in order, closed in reverse.

Knows how every part is built and what work goes on behind the requests. Refuses to know routes and Litestar.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from gateway.alerts.delivery import TIMEOUT_S as ALERT_TIMEOUT_S
from gateway.alerts.delivery import Deliveries
from gateway.api.system import Readiness
from gateway.background import Background
from gateway.budgets.alerts import AlertQueue
from gateway.budgets.editions import Editions
from gateway.budgets.ledger import Ledger
from gateway.budgets.raises import RaiseBook
from gateway.budgets.rates import Rates
from gateway.budgets.witness import recovery_facts
from gateway.configuration import read_configuration
from gateway.errors import LedgerUnavailable
from gateway.identity.keys import pepper
from gateway.identity.registry import KeyRegistry
from gateway.lifecycle.repeats import Repeats
from gateway.lifecycle.serve import Images
from gateway.lifecycle.settlement import Settlements
from gateway.lifecycle.uses import Uses
from gateway.lifecycle.watching import Watching
from gateway.reloading import Reloading
from gateway.routing.feed import Feed
from gateway.routing.fleet import Fleet
from gateway.routing.grid import Grid
from gateway.routing.latency import LatencyShare
from gateway.routing.leases import Leases
from gateway.store.connection import ServerWatch, connect, grace_ms
from gateway.store.sql import open_database
from gateway.store.valkey import EmbeddedValkey
from gateway.telemetry import Telemetry
from gateway.upstreams.client import Upstreams
from gateway.usage.archive import Archive
from gateway.usage.journal import JournalConsumer
from gateway.usage.queries import UsageQueries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from opentelemetry.sdk.trace.export import SpanExporter
    from redis.asyncio import Redis

    from gateway.lifecycle.plan import Configuration
    from gateway.settings import Settings
    from gateway.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

SIGNAL_TIMEOUT_S = 15.0
UNPOSTED, EMERGENCY = "unposted", "emergency"
CONSUMER_TIMEOUT_MS = 10_000
"""The journal's reader may wait; only the ledger's calls stand in the way of a request."""


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
        self._background = Background()

    def part(self, name: str) -> Callable[[], Any]:
        """A provider of one part by its name; the configuration is the snapshot in force at that moment."""
        if name == "configuration":
            return lambda: self._files.current
        return lambda: self._parts[name]

    @asynccontextmanager
    async def open(self, _: object) -> AsyncIterator[None]:
        """Opens the stores, starts the background work, and at the end drains what is in flight."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            telemetry = Telemetry.start(otlp_endpoint=settings.otlp_endpoint, exporter=self._span_exporter)
            stack.callback(telemetry.shutdown)
            redis_url = await self._redis_url(stack)
            redis = connect(redis_url, timeout_ms=settings.store_timeout_ms)
            stack.push_async_callback(redis.aclose)
            watch = ServerWatch(redis, looked=telemetry.metrics.store_clock)
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
                telemetry.metrics,
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
                telemetry=telemetry,
                max_answer_bytes_per_image=settings.max_answer_bytes_per_image,
                max_edit_json_bytes=settings.max_edit_json_bytes,
                repeats=Repeats(secret),
                rates=Rates(
                    redis, settings.store_timeout_ms, settings.requests_per_minute, telemetry.metrics.rate
                ),
                leases=Leases(redis, Fleet(), telemetry.metrics, settings.store_timeout_ms),
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
                        "background": self._background.check,
                    },
                    lambda: {**self._facts(), "store": _store_facts(watch, settlements)},
                ),
                "telemetry": telemetry,
                "usage": UsageQueries(database),
            }
            stack.push_async_callback(self._background.stop)
            self._background.start("store", watch.run())
            self._background.start("journal", journal.run())
            self._background.start("settlements", settlements.retry())
            self._background.start("leases", settlements.renew())
            self._background.start("expiry", settlements.expire())
            self._background.start("signals", feed.run())
            self._share(images, LatencyShare(reader, images.latencies))
            self._background.start("alerts", self._deliveries(stack, reader, telemetry.metrics).run())
            self._background.start("raises", raises.watch(lambda: int(time.time() * 1000)))
            self._background.start("editions", editions.watch(lambda: self._files.current.policies.version))
            self._background.start("configuration", self._files.watch(telemetry.metrics, editions))
            try:
                yield
            finally:
                await images.drain(settings.drain_s)
                journal.stop()
                await self._background.ended("journal")

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

    def _deliveries(self, stack: AsyncExitStack, redis: Redis, metrics: Metrics) -> Deliveries:
        http = httpx.AsyncClient(timeout=ALERT_TIMEOUT_S, trust_env=False, follow_redirects=False)
        stack.push_async_callback(http.aclose)
        queue = AlertQueue(redis, timeout_ms=CONSUMER_TIMEOUT_MS)
        return Deliveries(queue, http, lambda: self._files.current.policies, metrics)

    def _share(self, images: Images, durations: LatencyShare) -> None:
        """Keeps this process's leases alive, and its view of what all gateways know young."""
        self._background.start("capacity", images.leases.renew())
        self._background.start("fleet", images.leases.watch(lambda: self._files.current.deployments))
        self._background.start("latency", durations.run(lambda: self._files.current.deployments))

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


def _store_facts(watch: ServerWatch, settlements: Settlements) -> dict[str, Any]:
    offset_s = watch.clock_offset_s
    return {
        "clock_offset_s": None if offset_s is None else round(offset_s, 3),
        "clock_alarm": watch.clock_alarm,
        "ledger_recovery": recovery_facts(settlements.recovered.values()),
    }
