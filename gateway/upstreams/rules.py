"""What the operator wants of routing: the objective, its limits, how readily to change, and the signals.

Plain values without behaviour, so that the ranking, the simulator and the deployments file agree on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr

Objective = Literal["carbon", "water", "weighted", "static"]
UnknownRegion = Literal["pessimistic", "mix", "exclude"]

NEAR_TIE = 0.01
"""Candidates whose objective differs by less are as good as equal, so that free capacity decides."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of the weighted objective; each quantity is divided by the group's even spread at yearly factors
    first, so that weights do not drift with the grid."""

    carbon: float = 1.0
    water: float = 0.0
    price: float = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How one deployment is chosen among interchangeable ones.

    `min_gain` is the share by which a rival must be better before the incumbent is left; `residency` lists
    accepted places (country codes, `eu`), any of which is enough; empty accepts everywhere.
    """

    objective: Objective = "carbon"
    weights: Weights = field(default_factory=Weights)
    usd_per_image: float | None = None
    residency: tuple[str, ...] = ()
    min_gain: float = 0.05
    near_tie: float = NEAR_TIE
    unknown_region: UnknownRegion = "pessimistic"


SourceName = Literal[
    "carbon-aware-sdk",
    "eia",
    "electricity-maps",
    "energinet",
    "energy-charts",
    "entsoe",
    "neso",
    "rte",
    "watttime",
]
SignalKind = Literal["average-lifecycle", "average-direct", "marginal"]


@dataclass(frozen=True, slots=True)
class SignalSource:
    """A provider of grid signals; without `zones` it is asked for every zone that it has a name for.

    `area` is the provider's own name of the one zone listed, where it cannot be derived.
    """

    provider: SourceName
    zones: tuple[str, ...] = ()
    area: str | None = None
    key: SecretStr | None = None
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class Signals:
    """Where readings of the grid come from. `kind` is the one kind by which candidates are compared;
    `history` is a file from which month x hour tables are learnt."""

    kind: SignalKind = "average-lifecycle"
    sources: tuple[SignalSource, ...] = ()
    history: Path | None = None
