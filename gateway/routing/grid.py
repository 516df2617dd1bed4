"""What this process knows of the grid now, and whether routing may act on it.

Filled in the background (`feed`), read by requests from memory only. Per model group it keeps where the group
stands (`standing`). Refuses to know networks and stores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.routing.ladder import Intensity, intensity_at
from gateway.routing.standing import Known

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.routing.readings import Kind, Series
    from gateway.routing.standing import Standing
    from gateway.routing.tables import MonthHourTable


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

    def silent(self, model: str) -> frozenset[str]:
        """The deployments of a model that cannot lead now: readings decide, and theirs are too old."""
        standing = self.standings.get(model)
        return standing.silent if standing is not None else frozenset()

    def learning(self, hour: int, min_gain: float) -> Iterator[None]:
        """Replays, in pieces, what `refresh` will need of the past; until then standings are as before."""
        for standing in self.standings.values():
            yield from standing.learning(hour, self._known, min_gain)

    def refresh(self, hour: int, min_gain: float) -> None:
        """Brings every standing up to an hour; to be called when readings or the hour have changed."""
        for standing in self.standings.values():
            standing.refresh(hour, self._known, min_gain)

    @property
    def _known(self) -> Known:
        return Known(self.series, apart=self.kind == "average-lifecycle")

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
