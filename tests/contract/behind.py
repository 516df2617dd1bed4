"""A gateway in front of one scripted image service, and raw connections to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from gateway.demo.standin import StandInSettings
from tests.contract.scripted import Scripted, scripted
from tests.running import GENERATIONS, MODEL, UPSTREAM_MODEL, Gateway, gateway_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import httpx

    from tests.contract.scripted import Exchange

ASK: dict[str, Any] = {"model": MODEL, "prompt": "a cat", "size": "64x64"}
SECRET = "sk-upstream-credential-that-nobody-may-see"


def picture(side: int = 64, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, kind)
    return buffer.getvalue()


def b64(side: int = 64) -> str:
    return base64.b64encode(picture(side)).decode()


def images(count: int = 1, **fields: Any) -> bytes:
    """An Images API answer."""
    return json.dumps({"created": 1, "data": [{"b64_json": b64()}] * count, **fields}).encode()


def event(kind: str, **fields: Any) -> bytes:
    """One event as OpenAI frames it."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, 'b64_json': b64(), **fields})}\n\n".encode()


PARTIAL = event("image_generation.partial_image", partial_image_index=0)
COMPLETED = event("image_generation.completed", usage={"output_tokens": 5, "total_tokens": 9})


@dataclass(slots=True)
class Behind:
    """The gateway, the service behind it, and somebody with a key."""

    gateway: Gateway
    service: Scripted
    key: str
    client: httpx.AsyncClient

    async def post(self, path: str = GENERATIONS, **fields: Any) -> httpx.Response:
        """The usual request with other fields; `None` leaves a field out."""
        body = {name: value for name, value in {**ASK, **fields}.items() if value is not None}
        return await self.client.post(path, json=body)

    async def budgets(self) -> tuple[int, int]:
        """Images used and held."""
        [row] = (await self.client.get("/eco/v1/budgets")).json()["data"]
        return row["used"], row["held"]

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A raw connection to the gateway."""
        port = int(self.gateway.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def raw(self, request: bytes) -> bytes:
        """Everything that the gateway sends until it closes, for bytes that ask it to close."""
        async with self.connection() as (reader, writer):
            writer.write(request)
            return await asyncio.wait_for(reader.read(), 20)

    def head(self, *lines: str, method: str = "POST", path: str = GENERATIONS, version: str = "1.1") -> bytes:
        """The head of a request with this key; `lines` are further headers."""
        fields = [f"{method} {path} HTTP/{version}", "Host: g", f"Authorization: Bearer {self.key}", *lines]
        return ("\r\n".join(fields) + "\r\n\r\n").encode()


@contextlib.asynccontextmanager
async def behind(
    directory: Path,
    redis_url: str,
    script: Callable[[Exchange], Awaitable[None]],
    *,
    budgets: list[dict[str, Any]] | None = None,
    deployment: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Behind]:
    """A gateway whose only deployment is a service that follows `script`."""
    async with scripted(script) as service:
        listed = {
            "id": "there",
            "model": MODEL,
            "upstream_model": UPSTREAM_MODEL,
            "base_url": service.base_url,
            "api_key": "${SCRIPTED_KEY}",
            "location": {"provider": "self", "zone": "SE", "pin": "region"},
            "hardware": {"gpu": "H100", "precision": "bf16", "pue": 1.1, "wue_l_per_kwh": 0.1},
            "defaults": {"steps": 28, "size": "1024x1024"},
            **(deployment or {}),
        }
        shown = {name: value for name, value in listed.items() if value is not None}
        async with gateway_running(
            directory, redis_url, zones={"SE": StandInSettings(zone="SE")}, deployments=[shown],
            budgets=budgets, **settings,
        ) as gateway:  # fmt: skip
            key = await gateway.key()
            yield Behind(gateway, service, key, await gateway.http(key))


async def give_images(exchange: Exchange) -> None:
    """The plain service: as many images as were asked for."""
    await exchange.answer(images(exchange.json.get("n") or 1))
