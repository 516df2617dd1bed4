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
OnShortDeadline = Literal["prefer", "refuse"]

LONGEST_EJECTION_S = 300.0
NEAR_TIE = 0.01
"""Candidates whose objective differs by less are as good as equal, so that free capacity decides."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of the weighted objective; each quantity is divided by the group's even spread in the long run
    first, so that weights do not drift with the grid."""

    carbon: float = 1.0
    water: float = 0.0
    price: float = 0.0
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class Retries:
    """How often one request may be sent: `max_attempts` in all.

    `ambiguous` of them may follow an attempt that may have done the work, which is off by default: each such
    attempt is paid twice.
    """

    max_attempts: int = 2
    ambiguous: int = 0


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When a deployment is left out for a while, in Envoy's words.

    `consecutive_5xx` failures in a row eject it for `base_ejection_time_s` times the number of its ejections,
    `max_ejection_time_s` at most. For every `interval_s` that it is well one ejection is forgotten. Of the
    deployments that do the same work `max_ejection_percent` may be ejected at once, but one always; 0 ejects
    none.
    """

    consecutive_5xx: int = 5
    interval_s: float = 10.0
    base_ejection_time_s: float = 30.0
    max_ejection_time_s: float = LONGEST_EJECTION_S
    max_ejection_percent: int = 50

    def most(self, group: int) -> int:
        """How many deployments of a group may be ejected at once."""
        return max(1, group * self.max_ejection_percent // 100) if self.max_ejection_percent else 0


@dataclass(frozen=True, slots=True)
class Rules:
    """How one deployment is chosen among interchangeable ones.

    `min_gain` is the share by which a rival must be better before the incumbent is left; `residency` lists
    accepted places (country codes, `eu`), any of which is enough; empty accepts everywhere. `latency_p95_s`
    excludes deployments that are known to be slower. When everybody is busy, a request waits for `queue_s`.
    """

    objective: Objective = "carbon"
    weights: Weights = field(default_factory=Weights)
    usd_per_image: float | None = None
    latency_p95_s: float | None = None
    residency: tuple[str, ...] = ()
    min_gain: float = 0.05
    near_tie: float = NEAR_TIE
    unknown_region: UnknownRegion = "pessimistic"
    queue_s: float = 2.0
    on_short_deadline: OnShortDeadline = "prefer"
    retries: Retries = field(default_factory=Retries)
    outlier_detection: OutlierDetection = field(default_factory=OutlierDetection)


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
