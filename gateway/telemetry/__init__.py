"""What one process tells about itself: the traces of requests, and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource

from gateway import __version__
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Both, for those who tell both."""

    tracing: Tracing
    metrics: Metrics

    @classmethod
    def start(cls, *, otlp_endpoint: str | None = None, exporter: SpanExporter | None = None) -> Telemetry:
        """Telemetry for this process; spans leave only when an OTLP endpoint (or an exporter) is given."""
        if exporter is None and otlp_endpoint is not None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )

            exporter = OTLPSpanExporter()
        resource = Resource.create({"service.name": "ecogate", "service.version": __version__})
        return cls(Tracing(resource, exporter), Metrics(resource))

    def shutdown(self) -> None:
        self.tracing.shutdown()
        self.metrics.shutdown()
