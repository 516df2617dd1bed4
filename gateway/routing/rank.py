"""Which deployment comes first, and why.

Pure: footprints in, an order with reasons out. Today the order is by the carbon of the annual factors of
each zone; ties keep the order of the file. Refuses to know sockets, budgets and clocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.footprint.quantities import Footprint
    from gateway.upstreams.deployments import Deployment


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment that could do the work, with the footprint the work would have there.

    `unavailable` says why it cannot be used now, where that is so.
    """

    deployment: Deployment
    footprint: Footprint
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A candidate in its place; `reason` is a sentence for people."""

    candidate: Candidate
    reason: str

    @property
    def deployment(self) -> Deployment:
        return self.candidate.deployment

    @property
    def footprint(self) -> Footprint:
        return self.candidate.footprint

    def as_json(self) -> dict[str, Any]:
        footprint = self.footprint
        return {
            "deployment": self.deployment.id,
            "zone": footprint.zone,
            "energy_wh": footprint.energy_wh.central,
            "water_ml": footprint.water_ml.central,
            "carbon_g": footprint.carbon_g.central,
            "carbon_basis": footprint.carbon_basis,
            "usable": self.candidate.unavailable is None,
            "reason": self.reason,
        }


def rank(candidates: Sequence[Candidate]) -> list[Route]:
    """All candidates, usable ones first, each group by carbon (central estimate, gCO2e of the request)."""
    ordered = sorted(
        candidates,
        key=lambda candidate: (candidate.unavailable is not None, candidate.footprint.carbon_g.central),
    )
    usable = [candidate for candidate in ordered if candidate.unavailable is None]
    return [Route(candidate, _reason(candidate, usable)) for candidate in ordered]


def _reason(candidate: Candidate, usable: Sequence[Candidate]) -> str:
    if candidate.unavailable is not None:
        return candidate.unavailable
    carbon = candidate.footprint.carbon_g.central
    if len(usable) == 1:
        return "the only deployment that can do the work"
    if candidate is usable[0]:
        runner_up = usable[1].footprint.carbon_g.central
        return f"lowest carbon: {carbon:.4g} gCO2e against {runner_up:.4g} for the next"
    least = usable[0].footprint.carbon_g.central
    return f"{carbon:.4g} gCO2e against {least:.4g} for the lowest"
