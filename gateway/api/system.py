"""The routes that operators and machines read: alive, ready, metrics."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from litestar import MediaType, Response, get

from gateway.api.openapi import ReadinessOperation
from gateway.api.parts import Part
from gateway.errors import StoreError
from gateway.telemetry import Telemetry

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Check = Callable[[], Awaitable[None]]
"""Returns when a part works; raises `StoreError` with a sentence when it does not."""


class Readiness:
    """What this process needs to serve, and whether it has it."""

    def __init__(self, checks: Mapping[str, Check], facts: Callable[[], Mapping[str, Any]]) -> None:
        self._checks = checks
        self._facts = facts

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether all parts work, with a line for each."""
        checks: dict[str, str] = {}
        for name, check in self._checks.items():
            try:
                await check()
                checks[name] = "ok"
            except StoreError as error:
                checks[name] = str(error)
        ready = all(line == "ok" for line in checks.values())
        return ready, {"status": "ready" if ready else "not ready", "checks": checks, **self._facts()}


@get("/healthz", tags=["system"], summary="Alive")
async def healthz() -> dict[str, str]:
    """Alive: the process answers. Says nothing about its stores."""
    return {"status": "alive"}


@get("/readyz", tags=["system"], summary="Ready", operation_class=ReadinessOperation)
async def readyz(readiness: Part[Readiness]) -> Response[dict[str, Any]]:
    """Ready: the budget store and the database answer and the background work runs; else 503."""
    ready, body = await readiness.report()
    return Response(body, status_code=200 if ready else 503, media_type=MediaType.JSON)


@get("/metrics", media_type=MediaType.TEXT, tags=["system"], summary="Metrics")
async def metrics(telemetry: Part[Telemetry]) -> Response[bytes]:
    """The metrics of this process in Prometheus' text format."""
    return Response(telemetry.metrics.prometheus(), media_type=PROMETHEUS_TYPE)
