"""Spans, metrics and their names, all in one place.

One trace per request: a server span, its reserve and route, one client span per upstream attempt, its
settle. Attribute values come from closed sets or are numbers: no prompt, image, credential or other word of
a client ever becomes one. Refuses to know HTTP frameworks; the caller brings and takes headers as mappings.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, generate_latest

from gateway import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from gateway.footprint.quantities import Footprint
    from gateway.routing.fleet import Fleet

# GenAI conventions are still in development and moved repositories in 2026: the strings stand only here.
OPERATION = "gen_ai.operation.name"
OPERATION_IMAGES = "image_generation"
OUTPUT_TYPE = "gen_ai.output.type"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_COUNT = "gen_ai.request.choice.count"
PROVIDER = "gen_ai.provider.name"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
ERROR_TYPE = "error.type"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
SERVER_ADDRESS = "server.address"

REQUEST_ID = "ecogate.request.id"
ORG = "ecogate.org"
TEAM = "ecogate.team"
DECISION = "ecogate.decision"
BECAUSE = "ecogate.decision.because"
OUTCOME = "ecogate.outcome"
DEPLOYMENT = "ecogate.deployment"
ZONE = "ecogate.zone"
METHOD = "ecogate.footprint.method"
FACTOR_SET = "ecogate.footprint.factor_set"
BASIS = "ecogate.footprint.basis"
ENERGY = "ecogate.energy_wh"
WATER = "ecogate.water_ml"
CARBON = "ecogate.carbon_g"
IMAGES = "ecogate.images"
CANDIDATES = "ecogate.route.candidates"
OBJECTIVE = "ecogate.route.objective"
AVOIDED = "ecogate.route.avoided_carbon_g"
SIGNAL = "ecogate.signal.quality"
SIGNAL_SOURCE = "ecogate.signal.source"
SIGNAL_AGE = "ecogate.signal.age_h"
BUDGETS = "ecogate.budgets"
REFUSED_BY = "ecogate.refused_by"
WOULD_REFUSE = "ecogate.would_refuse"
ATTEMPT = "ecogate.attempt"
REPEATS = "ecogate.repeats"

SPAN_RESERVE = "budget.reserve"
SPAN_ROUTE = "route.choose"
SPAN_SETTLE = "budget.settle"
SPAN_UPSTREAM = "image_generation"

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)

SERVER_ERROR = 500

_propagator = TraceContextTextMapPropagator()


@dataclass
class Telemetry:
    """The tracer and the instruments of one process."""

    tracer_provider: TracerProvider
    meter_provider: MeterProvider
    registry: CollectorRegistry

    def __post_init__(self) -> None:
        self.tracer = self.tracer_provider.get_tracer("ecogate", __version__)
        meter = self.meter_provider.get_meter("ecogate", __version__)
        self._requests = meter.create_counter("ecogate.requests", description="Image requests")
        self._images = meter.create_counter("ecogate.images", description="Images delivered")
        self._energy = meter.create_counter(
            "ecogate.energy", unit="Wh", description="Facility energy charged, central estimate"
        )
        self._water = meter.create_counter(
            "ecogate.water", unit="mL", description="Water charged, on and off site, central estimate"
        )
        self._carbon = meter.create_counter(
            "ecogate.carbon", unit="gCO2e", description="Carbon charged, use and embodied, central estimate"
        )
        self._avoided = meter.create_up_down_counter(
            "ecogate.carbon.avoided",
            unit="gCO2e",
            description="Carbon charged less than under another rule of choice, by that rule; may fall",
        )
        self._refusals = meter.create_counter("ecogate.refusals", description="Requests refused, by code")
        self._unknown_factors = meter.create_counter(
            "ecogate.footprint.warnings", description="Requests priced with a warning"
        )
        self._duration = meter.create_histogram("ecogate.request.duration", unit="s")
        self._settle_retries = meter.create_counter(
            "ecogate.settle.retries", description="Settlements that the ledger did not take at once"
        )
        self._unexplained_holds = meter.create_counter(
            "ecogate.ledger.unexplained.holds",
            description="Holds that were gone after a change of servers, as seen by this process",
        )
        self._unexplained = meter.create_counter(
            "ecogate.ledger.unexplained.amounts",
            description="What those holds held, by dimension, in uWh, uL, ug CO2e, images and micro-USD",
        )
        self._failed_attempts = meter.create_counter(
            "ecogate.upstream.failures", description="Attempts at a deployment that brought no images"
        )
        self._wasted = {
            field: meter.create_counter(
                f"ecogate.wasted.{name}",
                unit=unit,
                description="Of attempts that may have run for nothing, central estimate; in no budget",
            )
            for field, name, unit in (
                ("energy_wh", "energy", "Wh"),
                ("water_ml", "water", "mL"),
                ("carbon_g", "carbon", "gCO2e"),
            )
        }
        self._leases = meter.create_counter(
            "ecogate.leases",
            description="Slots asked for: taken, busy, or unshared while the store does not answer",
        )
        self._rates = meter.create_counter(
            "ecogate.rate",
            description="Requests of limited keys: passed, refused, or uncounted while the store is away",
        )
        self._circuits = meter.create_counter(
            "ecogate.deployment.events", description="Ejections, returns and pauses of deployments"
        )
        self._in_use = meter.create_gauge(
            "ecogate.deployment.in_use", description="Slots in use by all gateways"
        )
        self._left_out = meter.create_gauge(
            "ecogate.deployment.left_out", description="1 while a deployment is ejected or paused"
        )
        self._shared = meter.create_gauge(
            "ecogate.capacity.shared", description="0 while capacity is counted by this gateway alone"
        )
        self._would_refuse = meter.create_counter(
            "ecogate.unenforced",
            description="Requests that passed because a budget does not enforce its limit, by its mode",
        )
        self._retries = meter.create_counter(
            "ecogate.retries", description="Requests that a client sent again by its own count, without a key"
        )
        self._alerts = meter.create_counter(
            "ecogate.alerts", description="Attempts to deliver alerts, by result"
        )
        self._reloads = meter.create_counter(
            "ecogate.configuration.reloads", description="Changed files that were read, by result"
        )
        self._rejected = meter.create_gauge(
            "ecogate.configuration.rejected", description="1 while the files on disk are refused"
        )
        self._rejected.set(0)
        self._store_clock = meter.create_gauge(
            "ecogate.store.clock.offset",
            unit="s",
            description="How far the budget store's clock is ahead of this machine's",
        )

    @contextmanager
    def request_span(self, route: str, headers: Mapping[str, str], *, request_id: str) -> Iterator[Span]:
        """The server span of a request; a `traceparent` among `headers` (lower case) is honoured."""
        parent = _propagator.extract(headers)
        with self.tracer.start_as_current_span(
            f"POST {route}",
            context=parent,
            kind=SpanKind.SERVER,
            attributes={HTTP_METHOD: "POST", HTTP_ROUTE: route, REQUEST_ID: request_id},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    @contextmanager
    def span(
        self, name: str, attributes: Mapping[str, Any] | None = None, *, client: bool = False
    ) -> Iterator[Span]:
        """A child of the current span; attributes that are `None` are left out."""
        known = {key: value for key, value in (attributes or {}).items() if value is not None}
        with self.tracer.start_as_current_span(
            name,
            kind=SpanKind.CLIENT if client else SpanKind.INTERNAL,
            attributes=known,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
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
        span.set_attribute(HTTP_STATUS, status)
        span.set_attributes({key: value for key, value in (attributes or {}).items() if value is not None})
        if error is not None:
            span.set_attribute(ERROR_TYPE, error)
        if status >= SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR))

    def answered(self, *, route: str, model: str, outcome: str, status: int, duration_s: float) -> None:
        """Counts a request. `model` is a configured name or `other`, `outcome` a word of ours."""
        labels = {"route": route, "model": model, "outcome": outcome, "status": f"{status // 100}xx"}
        self._requests.add(1, labels)
        self._duration.record(duration_s, {"route": route, "model": model})

    def charged(self, *, model: str, deployment: str, footprint: Footprint) -> None:
        """Counts what was charged for a request, by the central estimate."""
        labels = {"model": model, "deployment": deployment, "zone": footprint.zone or "unknown"}
        self._images.add(footprint.images, labels)
        self._energy.add(footprint.energy_wh.central, labels)
        self._water.add(footprint.water_ml.central, labels)
        self._carbon.add(footprint.carbon_g.central, labels)
        if footprint.warnings:
            self._unknown_factors.add(1, {"model": model, "method": footprint.method})

    def avoided(self, *, model: str, baseline: str, carbon_g: float) -> None:
        """Counts what a charged request avoided against a baseline; negative where it caused more."""
        self._avoided.add(carbon_g, {"model": model, "baseline": baseline})

    def refused(self, *, route: str, code: str) -> None:
        self._refusals.add(1, {"route": route, "code": code})

    def would_refuse(self, *, route: str, mode: str) -> None:
        """Counts a request that a budget in this mode (`shadow`, `warn`) let pass over its limit."""
        self._would_refuse.add(1, {"route": route, "mode": mode})

    def retried(self, *, route: str) -> None:
        """Counts a request that repeats an earlier one."""
        self._retries.add(1, {"route": route})

    def settle_retried(self) -> None:
        self._settle_retries.add(1)

    def unexplained(self, holds: int, amounts: Mapping[str, int]) -> None:
        """Counts what nobody could bring back after a change of servers; `amounts` are by dimension."""
        self._unexplained_holds.add(holds)
        for dimension, amount in amounts.items():
            self._unexplained.add(amount, {"dimension": dimension})

    def attempt_failed(self, *, deployment: str, outcome: str) -> None:
        self._failed_attempts.add(1, {"deployment": deployment, "outcome": outcome})

    def wasted(self, *, deployment: str, amounts: Mapping[str, float]) -> None:
        """Counts what an attempt may have taken for nothing."""
        for field, counter in self._wasted.items():
            counter.add(amounts[field], {"deployment": deployment})

    def lease(self, *, outcome: str) -> None:
        """Counts a slot that was asked for: `taken`, `busy`, or `unshared`: given by this process alone."""
        self._leases.add(1, {"outcome": outcome})

    def rate(self, outcome: str) -> None:
        """Counts a request of a key whose requests are limited: `passed`, `refused` or `uncounted`."""
        self._rates.add(1, {"outcome": outcome})

    def circuit(self, *, deployment: str, happened: str, why: str) -> None:
        """Counts what happened to a deployment's circuit: both words are of closed sets."""
        self._circuits.add(1, {"deployment": deployment, "event": happened, "why": why or "none"})

    def fleet(self, fleet: Fleet) -> None:
        """Shows how deployments stand, by their configured ids."""
        now = time.monotonic()
        for deployment, sight in fleet.sights.items():
            self._in_use.set(sight.in_use, {"deployment": deployment})
            out = sight.state_at(now) in {"ejected", "paused"}
            self._left_out.set(int(out), {"deployment": deployment})
        self._shared.set(int(fleet.shared))

    def alerted(self, *, result: str) -> None:
        """Counts an attempt: `delivered`, `failed` (tried again), `dead` or `withdrawn` by the policies."""
        self._alerts.add(1, {"result": result})

    def configuration_read(self, *, taken: bool) -> None:
        """Counts a change of the files: taken, or refused so that what was in force stays."""
        self._reloads.add(1, {"result": "taken" if taken else "rejected"})
        self._rejected.set(0 if taken else 1)

    def store_clock(self, offset_s: float) -> None:
        """How far the budget store's clock is ahead of this machine's, in seconds."""
        self._store_clock.set(offset_s)

    def prometheus(self) -> bytes:
        """The metrics of this process in Prometheus' text format."""
        return generate_latest(self.registry)

    def shutdown(self) -> None:
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()


def footprint_attributes(footprint: Footprint, *, basis: str) -> dict[str, Any]:
    """The attributes by which a span tells a footprint, central estimates with their bands."""
    attributes: dict[str, Any] = {
        METHOD: footprint.method,
        FACTOR_SET: footprint.factor_set,
        BASIS: basis,
        IMAGES: footprint.images,
    }
    quantities = {ENERGY: footprint.energy_wh, WATER: footprint.water_ml, CARBON: footprint.carbon_g}
    for name, quantity in quantities.items():
        attributes |= {name: quantity.central, f"{name}.low": quantity.low, f"{name}.high": quantity.high}
    return attributes


def failed(span: Span, error_type: str) -> None:
    """Marks a span as failed by a name from a closed set."""
    span.set_attribute(ERROR_TYPE, error_type)
    span.set_status(Status(StatusCode.ERROR))


def current_trace_id() -> str | None:
    """The trace id of the current span in hex, where there is one."""
    span_context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(span_context.trace_id) if span_context.is_valid else None


def start(*, otlp_endpoint: str | None, exporter: SpanExporter | None = None) -> Telemetry:
    """Telemetry for this process; spans leave only when an OTLP endpoint (or an exporter) is given."""
    resource = Resource.create({"service.name": "ecogate", "service.version": __version__})
    tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if exporter is None and otlp_endpoint is not None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        exporter = OTLPSpanExporter()
    if exporter is not None:
        # Small batches: a large one stalls the event loop for milliseconds when it is encoded.
        tracer_provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=64))
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(registry=registry, scope_info_enabled=False)
    meter_provider = MeterProvider(
        resource=resource,
        metric_readers=[reader],
        shutdown_on_exit=False,
        views=[
            View(instrument_name="*.duration", aggregation=ExplicitBucketHistogramAggregation(SECONDS)),
        ],
    )
    return Telemetry(tracer_provider, meter_provider, registry)
