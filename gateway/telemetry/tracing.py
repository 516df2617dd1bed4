"""The trace of each request: a server span, its reserve and route, one client span per attempt, its settle.

Attribute values come from closed sets or are numbers: no prompt, image, credential or other word of a client
ever becomes one. Refuses to know HTTP frameworks; the caller brings and takes headers as mappings.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway import __version__
from gateway.telemetry import names
from gateway.telemetry.unrecorded import start_unrecorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from gateway.footprint.quantities import Footprint

SERVER_ERROR = 500
SPANS_PER_BATCH = 64
"""A large batch stalls the event loop for milliseconds when it is encoded."""

_propagator = TraceContextTextMapPropagator()


class Tracing:
    """The spans of one process; without an exporter they have ids and go nowhere."""

    def __init__(self, resource: Resource, exporter: SpanExporter | None) -> None:
        self._provider: TracerProvider | None = None
        self._start: Callable[..., Span] = start_unrecorded
        if exporter is not None:
            self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
            self._provider.add_span_processor(
                BatchSpanProcessor(exporter, max_export_batch_size=SPANS_PER_BATCH)
            )
            self._start = self._provider.get_tracer("ecogate", __version__).start_span

    @contextmanager
    def request_span(self, route: str, headers: Mapping[str, str], *, request_id: str) -> Iterator[Span]:
        """The server span of a request; a `traceparent` among `headers` (lower case) is honoured."""
        parent = _propagator.extract(headers)
        span = self._start(
            f"POST {route}",
            context=parent,
            kind=SpanKind.SERVER,
            attributes={names.HTTP_METHOD: "POST", names.HTTP_ROUTE: route, names.REQUEST_ID: request_id},
        )
        with _current(span):
            yield span

    @contextmanager
    def span(
        self, name: str, attributes: Mapping[str, Any] | None = None, *, client: bool = False
    ) -> Iterator[Span]:
        """A child of the current span; attributes that are `None` are left out."""
        known = {key: value for key, value in (attributes or {}).items() if value is not None}
        span = self._start(name, kind=SpanKind.CLIENT if client else SpanKind.INTERNAL, attributes=known)
        with _current(span):
            yield span

    @staticmethod
    def trace_headers(context: Context | None = None) -> dict[str, str]:
        """`traceparent` and `tracestate` of the current span, to send upstream."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, context=context)
        return carrier

    @staticmethod
    def finish_request(
        span: Span, *, status: int, attributes: Mapping[str, Any] | None = None, error: str | None = None
    ) -> None:
        """Closes a server span's story: its status, what was decided, what it cost."""
        span.set_attribute(names.HTTP_STATUS, status)
        span.set_attributes({key: value for key, value in (attributes or {}).items() if value is not None})
        if error is not None:
            span.set_attribute(names.ERROR_TYPE, error)
        if status >= SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR))

    def shutdown(self) -> None:
        if self._provider is not None:
            self._provider.shutdown()


def _current(span: Span) -> AbstractContextManager[Span]:
    """The span while a block runs; it ends with the block, and exceptions do not get into it."""
    return trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False)


def footprint_attributes(footprint: Footprint, *, basis: str) -> dict[str, Any]:
    """The attributes by which a span tells a footprint, central estimates with their bands."""
    attributes: dict[str, Any] = {
        names.METHOD: footprint.method,
        names.FACTOR_SET: footprint.factor_set,
        names.BASIS: basis,
        names.IMAGES: footprint.images,
    }
    quantities = {
        names.ENERGY: footprint.energy_wh,
        names.WATER: footprint.water_ml,
        names.CARBON: footprint.carbon_g,
    }
    for name, quantity in quantities.items():
        attributes |= {name: quantity.central, f"{name}.low": quantity.low, f"{name}.high": quantity.high}
    return attributes


def failed(span: Span, error_type: str) -> None:
    """Marks a span as failed by a name from a closed set."""
    span.set_attribute(names.ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR))


def current_trace_id() -> str | None:
    """The trace id of the current span in hex, where there is one."""
    span_context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(span_context.trace_id) if span_context.is_valid else None
