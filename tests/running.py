"""The real gateway on a real socket, in front of real stand-ins, for tests of the whole path."""

from __future__ import annotations

import asyncio
import contextlib
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import httpx
import uvicorn
import yaml
from openai import AsyncOpenAI
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from gateway.app import create_app
from gateway.cli.connection import Connection
from gateway.cli.serve import KEEP_ALIVE_S
from gateway.demo.serving import Running, serving
from gateway.demo.standin import StandInSettings
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Mapping
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

ADMIN_KEY = "an-admin-key-of-more-than-32-characters-for-tests"
MODEL = "starter-pack"
UPSTREAM_MODEL = "black-forest-labs/FLUX.1-dev"
GENERATIONS = "/v1/images/generations"


class _Server(uvicorn.Server):
    """A server inside the test's own loop: signals belong to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@dataclass
class Gateway:
    """A gateway under test, its stand-ins by zone, and the spans it made."""

    url: str
    standins: dict[str, Running]
    spans: InMemorySpanExporter
    clients: contextlib.AsyncExitStack
    admin: httpx.AsyncClient = field(init=False)

    async def __aenter__(self) -> Self:
        self.admin = await self.http(ADMIN_KEY)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.clients.aclose()

    async def http(self, key: str | None) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {key}"} if key is not None else {}
        client = httpx.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=30,
            trust_env=False,
            limits=httpx.Limits(max_connections=None),
        )
        return await self.clients.enter_async_context(client)

    async def key(self, **fields: Any) -> str:
        """A new key, by the admin API."""
        body = {"org": "acme", "team": "design", "user": "ada", "role": "member", **fields}
        answer = await self.admin.post("/eco/v1/keys", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    async def member(self, **fields: Any) -> httpx.AsyncClient:
        return await self.http(await self.key(**fields))

    async def openai(self, key: str | None = None, **options: Any) -> AsyncOpenAI:
        client = AsyncOpenAI(
            base_url=f"{self.url}/v1", api_key=key or await self.key(), max_retries=0, timeout=30, **options
        )
        return await self.clients.enter_async_context(client)

    def generations(self) -> list[dict[str, Any]]:
        """Every body that reached a stand-in."""
        return [one.json or {} for running in self.standins.values() for one in running.standin.generations]

    def span_tree(self) -> list[ReadableSpan]:
        """All finished spans, by start."""
        return sorted(self.spans.get_finished_spans(), key=lambda span: span.start_time or 0)


def in_zone(zone: str, base_url: str, **fields: Any) -> dict[str, Any]:
    """A deployment of the model on one H100, as a file says it; `fields` are added or stand instead."""
    return {
        "id": f"flux-{zone.lower()}",
        "model": MODEL,
        "upstream_model": UPSTREAM_MODEL,
        "base_url": base_url,
        "location": {"provider": "self", "zone": zone, "pin": "region"},
        "hardware": {"gpu": "H100", "precision": "bf16", "pue": 1.1, "wue_l_per_kwh": 0.1},
        "defaults": {"steps": 28, "size": "1024x1024"},
        **deepcopy(fields),  # a shared mapping would be written as an alias
    }


@contextlib.asynccontextmanager
async def gateway_running(
    directory: Path,
    redis_url: str | None,
    *,
    budgets: list[dict[str, Any]] | None = None,
    zones: Mapping[str, StandInSettings] | None = None,
    deployment: Mapping[str, Any] | None = None,
    deployments: list[dict[str, Any]] | None = None,
    signals: Mapping[str, Any] | None = None,
    routing: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """A gateway in front of one stand-in per zone (SE and PL unless given)."""
    zones = zones or {zone: StandInSettings(zone=zone) for zone in ("SE", "PL")}
    async with contextlib.AsyncExitStack() as stack:
        standins = {
            zone: await stack.enter_async_context(serving(standin)) for zone, standin in zones.items()
        }
        listed = deployments or [
            in_zone(zone, running.base_url, **dict(deployment or {})) for zone, running in standins.items()
        ]
        file = directory / "deployments.yaml"
        rules = {"signals": dict(signals or {}), "routing": dict(routing or {})}
        file.write_text(yaml.safe_dump({"deployments": listed, **rules}))
        policies = directory / "policies"
        policies.mkdir(exist_ok=True)
        (policies / "budgets.yaml").write_text(yaml.safe_dump({"timezone": "UTC", "budgets": budgets or []}))
        if not budgets:
            (policies / "budgets.yaml").unlink()
        spans = InMemorySpanExporter()
        configured = Settings(
            data_dir=directory / "data",
            deployments=file,
            policies=policies,
            redis_url=SecretStr(redis_url) if redis_url is not None else None,
            admin_key=SecretStr(ADMIN_KEY),
            # A busy test machine must not look like a store that hangs.
            **{"store_timeout_ms": 5000, **settings},
        )
        server = _Server(
            uvicorn.Config(
                create_app(configured, span_exporter=spans),
                port=0,
                http=Connection,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                # As served: where a loop is busy, the first head on a connection may take its time.
                timeout_keep_alive=KEEP_ALIVE_S,
            )
        )
        serving_task = asyncio.create_task(server.serve())
        while not server.started:
            if serving_task.done():
                await serving_task
                msg = "the gateway did not start"
                raise RuntimeError(msg)
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            async with Gateway(
                f"http://127.0.0.1:{port}", standins, spans, contextlib.AsyncExitStack()
            ) as running:
                yield running
        finally:
            server.should_exit = True
            await serving_task


def budget(name: str = "design-month", **fields: Any) -> dict[str, Any]:
    """A monthly budget per team, unless said otherwise."""
    return {
        "name": name,
        "per": ["team"],
        "limits": {"images": 5},
        "window": {"kind": "calendar", "every": "month"},
        **fields,
    }
