"""What one process counts, for Prometheus.

Label values are configured names and words of closed sets: no word of a client ever becomes one. Refuses to
know spans.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from prometheus_client import CollectorRegistry, generate_latest

from gateway import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.resources import Resource

    from gateway.footprint.quantities import Footprint
    from gateway.routing.fleet import Fleet

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)


class Metrics:
    """The instruments; each method is told what happened."""

    def __init__(self, resource: Resource) -> None:
        self._registry = CollectorRegistry()
        self._provider = MeterProvider(
            resource=resource,
            metric_readers=[PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)],
            shutdown_on_exit=False,
            views=[
                View(instrument_name="*.duration", aggregation=ExplicitBucketHistogramAggregation(SECONDS)),
            ],
        )
        meter = self._provider.get_meter("ecogate", __version__)
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
        return generate_latest(self._registry)

    def shutdown(self) -> None:
        self._provider.shutdown()
