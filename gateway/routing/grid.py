"""What this process knows of the grid now, and whether routing may act on it.

Filled in the background (`feed`), read by requests from memory only. Per model group it keeps the incumbent
and the proof that acting on the signals pays. Refuses to know networks and stores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.routing.ladder import SHAPE_H, Intensity, from_readings, intensity_at
from gateway.routing.proof import Proof
from gateway.routing.seat import Seat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.routing.readings import Kind, Series
    from gateway.routing.tables import MonthHourTable


@dataclass(frozen=True, slots=True)
class Option:
    """A deployment as signals see it: one usual image there is `other_g` plus `energy_kwh` times the grid.

    What the objective minimises is `per_g` for each of these grams plus `beside`, which no signal changes.
    """

    deployment: str
    zone: str | None
    other_g: float
    energy_kwh: float
    yearly_g_per_kwh: float
    per_g: float = 1.0
    beside: float = 0.0

    def score(self, g_per_kwh: float) -> float:
        """The objective of one usual image at an intensity of the grid."""
        return self.beside + self.per_g * (self.other_g + self.energy_kwh * g_per_kwh)


@dataclass(slots=True)
class Standing:
    """Where a model group stands: who leads, and whether the order goes by signals (`acts`)."""

    options: Sequence[Option]
    proof: Proof | None = None
    acts: bool = False
    age_h: int | None = None
    seat: Seat = field(default_factory=Seat)

    @property
    def incumbent(self) -> str | None:
        """The deployment that leads, None before the first refresh."""
        return None if self.seat.place is None else self.options[self.seat.place].deployment


@dataclass(slots=True)
class Grid:
    """Readings by zone in the one kind that candidates are compared in, and everything derived from them.

    `other` holds readings of other kinds, which are shown and never compared. `problems` says by source and
    zone what went wrong when it was asked last.
    """

    kind: Kind = "average-lifecycle"
    series: dict[str, Series] = field(default_factory=dict)
    other: list[Series] = field(default_factory=list)
    tables: Mapping[str, MonthHourTable] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def intensity(
        self, zone: str | None, hour: int, *, yearly_g_per_kwh: float, yearly_source: str
    ) -> Intensity:
        """A zone's intensity in an hour by the best rung of the ladder."""
        return intensity_at(
            hour,
            self.series.get(zone or ""),
            table=self.tables.get(zone or ""),
            yearly_g_per_kwh=yearly_g_per_kwh,
            yearly_source=yearly_source,
        )

    def acts(self, model: str) -> bool:
        """Whether the order of a model's deployments goes by signals now."""
        standing = self.standings.get(model)
        return standing is not None and standing.acts

    def incumbent(self, model: str) -> str | None:
        """The deployment that leads a model group."""
        standing = self.standings.get(model)
        return standing.incumbent if standing is not None else None

    def refresh(self, hour: int, min_gain: float) -> None:
        """Brings every standing up to an hour; to be called when readings or the hour have changed."""
        for standing in self.standings.values():
            self._refresh(standing, hour, min_gain)

    def _refresh(self, standing: Standing, hour: int, min_gain: float) -> None:
        options = standing.options
        yearly = [option.score(option.yearly_g_per_kwh) for option in options]
        best = min(range(len(options)), key=yearly.__getitem__)
        zones = [option.zone for option in options if option.zone is not None and option.zone in self.series]
        known = [self.series[zone].newest for zone in zones]
        newest = min((one for one in known if one is not None), default=None)
        standing.acts, standing.age_h = False, None
        # Yearly values are life-cycle averages: beside them only readings of that kind can stand.
        comparable = self.kind == "average-lifecycle" or all(option.zone in zones for option in options)
        moved = any(option.per_g for option in options)
        if newest is not None and hour - newest <= SHAPE_H and comparable and moved:
            if standing.proof is None:
                first = min(min(self.series[zone].hours) for zone in zones)
                standing.proof = Proof(best, first, min_gain)
            standing.age_h = max(0, hour - newest)

            def expected(at: int, age: int) -> list[float]:
                return self._costs(options, at, age)

            def turned_out(at: int) -> list[float] | None:
                if any(at not in self.series[zone].hours for zone in zones):
                    return None
                return self._costs(options, at, 0)

            standing.acts = standing.proof.supports(standing.age_h, newest, expected, turned_out)
        if standing.acts and standing.age_h is not None:
            standing.seat.decide(hour, self._costs(options, hour, standing.age_h), min_gain)
        else:
            standing.seat.take(best)

    def _costs(self, options: Sequence[Option], hour: int, age: int) -> list[float]:
        costs = []
        for option in options:
            series = self.series.get(option.zone or "")
            g = from_readings(series, hour, age) if series is not None else None
            costs.append(option.score(option.yearly_g_per_kwh if g is None else g))
        return costs

    def replace_series(self, series: Iterable[Series]) -> None:
        """Takes over what was read from the store."""
        mine: dict[str, Series] = {}
        other: list[Series] = []
        for one in series:
            if one.kind == self.kind:
                mine[one.zone] = one
            else:
                other.append(one)
        self.series, self.other = mine, other

    def as_json(self, hour: int) -> list[dict[str, Any]]:
        """Every zone with readings, for people: kind, newest value, its age and source, and its use."""
        return [
            {
                "zone": one.zone,
                "kind": one.kind,
                "newest": one.hours[one.newest],
                "unit": "gCO2e/kWh",
                "hour": one.newest,
                "age_h": hour - one.newest,
                "source": one.source,
                "estimated": one.estimated,
                "hours_known": len(one.hours),
                "compared": one.kind == self.kind,
            }
            for one in [*self.series.values(), *self.other]
            if one.newest is not None
        ]
