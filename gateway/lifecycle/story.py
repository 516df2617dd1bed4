"""The reviewable record of one request as it stands at any moment of its life.

Takes what the life knows and writes it as a `Record`; holds no prompt, image or credential because it is
given none.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import structs

from gateway.budgets.notices import verdict_log
from gateway.telemetry import tracing
from gateway.usage.record import Attempt, Record, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.budgets.counter import Shortfall
    from gateway.budgets.matching import MatchedBudget
    from gateway.footprint.quantities import Footprint
    from gateway.lifecycle.ask import Ask
    from gateway.lifecycle.plan import Plan
    from gateway.lifecycle.served_place import ServedPlace
    from gateway.routing.rank import Route


UNENFORCED = "unenforced"
"""The decision on a request that passed while the store was down; no budget was asked."""


@dataclass(slots=True)
class Story:
    """What happened to one request so far.

    `exceeded` are the rows for which budgets refused it, or would have; `notices` are for the client;
    `retry_of` is the request that it repeats; `served` is where its answer says that it ran.
    """

    ask: Ask
    plan: Plan
    policy_version: str
    matched: Sequence[MatchedBudget] = ()
    exceeded: Sequence[Shortfall] = ()
    notices: Sequence[str] = ()
    decision: str = "allow"
    downgrade: dict[str, dict[str, Any]] | None = None
    retry_of: str | None = None
    reroute: dict[str, Any] | None = None
    attempts: list[Attempt] = field(default_factory=list)
    served: ServedPlace | None = None
    _open: tuple[tuple[object, ...], str] | None = None

    def open_record(self, route: Route) -> str:
        """The record while nobody knows what comes of the request; written anew when there is something new
        to tell, not for each step that keeps it."""
        told = (
            route,
            self.matched,
            self.exceeded,
            self.decision,
            self.downgrade,
            self.retry_of,
            self.reroute,
            tuple(self.attempts),
            self.served,
        )
        if self._open is None or self._open[0] != told:
            self._open = told, self.record(route, outcome="unknown")
        return self._open[1]

    def record(
        self,
        route: Route,
        *,
        outcome: str,
        status: int | None = None,
        footprint: Footprint | None = None,
        images: int | None = None,
        basis: str = "estimate",
        size: str | None = None,
        usage: dict[str, Any] | None = None,
        usage_basis: str | None = None,
        refused: str | None = None,
    ) -> str:
        """The record as JSON; what is not given stands as it was asked and estimated.

        `refused` is why a budget denied the request: it then went to no deployment, and `route` only says
        what it would have cost.
        """
        ask, request = self.ask, self.ask.request
        shown = footprint or route.footprint
        return encode(
            Record(
                id=ask.id,
                org=ask.subject.org,
                key=ask.subject.key,
                team=ask.subject.team,
                user=ask.subject.user,
                labels=ask.subject.labels,
                route=request.route,
                model=request.model,
                upstream_model=None if refused else route.deployment.upstream_model,
                deployment=None if refused else route.deployment.id,
                zone=None if refused else shown.zone,
                decision="deny" if refused else self.decision,
                because=self._because(refused or route.reason),
                outcome=outcome,
                status=status,
                images_requested=route.footprint.images,
                images=route.footprint.images if images is None else images,
                size=size or request.size,
                quality=request.quality,
                basis=basis,
                footprint=shown.as_json(),
                candidates=[ranked.as_json() for ranked in self.plan.ranking.routes],
                routing=self.plan.ranking.as_json(),
                policies=self._verdicts(),
                attempts=list(self.attempts),
                served=self.served.as_json() if self.served is not None else None,
                usage=usage,
                usage_basis=usage_basis,
                trace_id=tracing.current_trace_id(),
                retry_count=ask.retry_count,
                retry_of=self.retry_of,
                duration_ms=round((time.monotonic() - ask.started) * 1000, 1),
                policy_version=self.policy_version,
                downgrade=self.downgrade,
                reroute=self.reroute,
                warnings=list(shown.warnings),
            )
        )

    def _verdicts(self) -> list[dict[str, Any]]:
        lines = verdict_log(self.matched, self.exceeded)
        return [line | {"verdict": UNENFORCED} for line in lines] if self.decision == UNENFORCED else lines

    def waste(self, place: int, route: Route | None) -> None:
        """Marks an attempt as one that may have run at a route for nothing; None takes the mark away."""
        wasted = None
        if route is not None:
            footprint = route.footprint
            wasted = {
                "energy_wh": footprint.energy_wh.central,
                "water_ml": footprint.water_ml.central,
                "carbon_g": footprint.carbon_g.central,
            }
            price = route.deployment.price_usd(footprint.images)
            if price is not None:
                wasted["cost_usd"] = float(price)
        self.attempts[place] = structs.replace(self.attempts[place], wasted=wasted)

    def _because(self, reason: str) -> list[str]:
        found = []
        if self.downgrade is not None:
            changes = ", ".join(
                f"{name} {values['got']} instead of {values['asked'] or 'the default'}"
                for name, values in self.downgrade.items()
            )
            found.append(f"a budget had no room for the request as it was asked: {changes}")
        if self.reroute is not None:
            found.append(
                f"a budget had no room at deployment {self.reroute['from']}: {self.reroute['to']} takes it"
            )
        told = [] if self.served is None else [self.served.because()]
        return [*found, reason, *told]
