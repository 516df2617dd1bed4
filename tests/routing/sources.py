"""A grid source on a real local socket, answering what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from aiohttp import web
from pydantic import SecretStr

from gateway.routing.providers.registry import PROVIDERS
from gateway.routing.providers.source import Question

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.routing.readings import Reading

SAMPLES = Path(__file__).parent / "samples"
PATHS = {
    "electricity-maps": "/v4/carbon-intensity/history",
    "neso": "/intensity/",
    "energy-charts": "/co2eq",
    "rte": "/api/explore",
    "energinet": "/dataset/CO2Emis",
    "eia": "/v2/electricity",
    "entsoe": "/api",
    "carbon-aware-sdk": "/emissions/bylocation",
    "watttime": "/v3/historical",
}
AREAS = {
    "electricity-maps": ("DE", "DE"),
    "neso": ("GB", "GB"),
    "energy-charts": ("DE", "de"),
    "rte": ("FR", "FR"),
    "energinet": ("DK-DK1", "DK1"),
    "eia": ("US-NW-PACW", "PACW"),
    "entsoe": ("SE-SE4", "10Y1001A1001A47J"),
    "carbon-aware-sdk": ("US-MIDA-PJM", "eastus"),
    "watttime": ("US-CAL-CISO", "CAISO_NORTH"),
}


@dataclass
class Source:
    """Answers by path; an unknown path is 404. `asked` holds every request."""

    answers: dict[str, tuple[int, bytes, dict[str, str]]] = field(default_factory=dict)
    asked: list[web.Request] = field(default_factory=list)
    delay_s: float = 0.0
    url: str = ""

    def says(self, path: str, body: str | bytes, status: int = 200, **headers: str) -> None:
        raw = body.encode() if isinstance(body, str) else body
        self.answers[path] = (status, raw, {name.replace("_", "-"): text for name, text in headers.items()})

    def plays(self, path: str, sample: str) -> None:
        self.says(path, (SAMPLES / sample).read_bytes())

    async def _handle(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        await asyncio.sleep(self.delay_s)
        for path, (status, body, headers) in self.answers.items():
            if request.path.startswith(path):
                return web.Response(status=status, body=body, headers=headers)
        return web.Response(status=404, text="nothing here")


@contextlib.asynccontextmanager
async def source_running() -> AsyncIterator[Source]:
    """A source that listens until the end of the block."""
    source = Source()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", source._handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    source.url = f"http://{host}:{port}"
    try:
        yield source
    finally:
        await runner.cleanup()


def question(name: str, now: str) -> Question:
    zone, area = AREAS[name]
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    return Question(
        zone, area, (at - timedelta(days=1)).timestamp(), at.timestamp(), SecretStr("user:secret")
    )


async def fetched(source: Source, name: str, now: str, timeout_s: float = 5) -> list[Reading]:
    async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as http:
        return await PROVIDERS[name].fetch(http, source.url, question(name, now))


def shown(readings: list[Reading]) -> list[tuple[str, float, bool, bool]]:
    return [
        (
            f"{datetime.fromtimestamp(one.hour * 3600, UTC):%Y-%m-%dT%H}",
            round(one.g_per_kwh, 2),
            one.estimated,
            one.forecast,
        )
        for one in readings
    ]


def maps(*rows: dict[str, Any], **also: Any) -> str:
    return json.dumps({"zone": "DE", "history": list(rows), **also})


def at(time: str, value: Any = 300) -> dict[str, Any]:
    return {"carbonIntensity": value, "datetime": time}
