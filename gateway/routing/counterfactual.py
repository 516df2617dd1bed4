"""What a request would have caused under other rules: the even spread and the best fixed choice.

Amounts are those of this very request at the readings that were known when it was routed. Avoided is baseline
minus choice and may be negative; it is a comparison with a stated baseline, no claim about power plants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.footprint.quantities import Footprint
    from gateway.routing.rank import Candidate


@dataclass(frozen=True, slots=True)
class Baseline:
    """Another rule's choice for the same work; central estimates in grams of CO2e and mL."""

    carbon_g: float
    water_ml: float
    avoided_carbon_g: float
    avoided_water_ml: float
    deployment: str | None = None

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "carbon_g": self.carbon_g,
            "water_ml": self.water_ml,
            "avoided_carbon_g": self.avoided_carbon_g,
            "avoided_water_ml": self.avoided_water_ml,
        }
        if self.deployment is not None:
            shown["deployment"] = self.deployment
        return shown


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """`even_spread` is the mean over the usable candidates; `best_fixed` the lowest in the long run
    (by the mean of `signals.history`, else yearly factors)."""

    even_spread: Baseline
    best_fixed: Baseline

    def as_json(self) -> dict[str, Any]:
        return {"even_spread": self.even_spread.as_json(), "best_fixed": self.best_fixed.as_json()}

    def avoided_g(self, planned: Footprint, done: Footprint) -> dict[str, float]:
        """Grams of CO2e avoided, by baseline, by work planned at one footprint that came to another."""
        scale = done.carbon_g.central / planned.carbon_g.central
        baselines = {"even_spread": self.even_spread, "best_fixed": self.best_fixed}
        return {name: one.carbon_g * scale - done.carbon_g.central for name, one in baselines.items()}


def counterfactual(usable: Sequence[Candidate], chosen: Footprint) -> Counterfactual:
    """The baselines of a choice among `usable` candidates, of which there is at least one."""
    count = len(usable)
    even_carbon = sum(candidate.footprint.carbon_g.central for candidate in usable) / count
    even_water = sum(candidate.footprint.water_ml.central for candidate in usable) / count
    fixed = min(usable, key=lambda candidate: candidate.fixed.carbon_g.central)
    return Counterfactual(
        _baseline(even_carbon, even_water, chosen, None),
        _baseline(
            fixed.footprint.carbon_g.central,
            fixed.footprint.water_ml.central,
            chosen,
            fixed.deployment.id,
        ),
    )


def _baseline(carbon_g: float, water_ml: float, chosen: Footprint, deployment: str | None) -> Baseline:
    return Baseline(
        carbon_g,
        water_ml,
        carbon_g - chosen.carbon_g.central,
        water_ml - chosen.water_ml.central,
        deployment,
    )
