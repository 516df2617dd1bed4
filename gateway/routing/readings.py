"""Signals of the grid: one value of one kind for one zone and hour, and the hours known of a zone.

Kinds are never mixed: an average and a marginal value of one hour are different facts. Hours are counted in
whole hours of UTC since 1970. Pure values; nothing here asks a clock or a network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["average-lifecycle", "average-direct", "marginal"]

SECONDS_PER_HOUR = 3600
MAX_G_PER_KWH = 1500.0
"""No grid's average is dirtier; a larger value is a mistake of unit or of source."""
KEPT_HOURS = 57 * 24
"""Eight weeks of evidence and a day."""


def hour_of(moment_s: float) -> int:
    """The hour that a moment in seconds of UTC since 1970 is in."""
    return int(moment_s // SECONDS_PER_HOUR)


def sane(g_per_kwh: float) -> bool:
    """Whether a value can be a grid's intensity at all; 0, negative and NaN cannot."""
    return 0 < g_per_kwh < MAX_G_PER_KWH


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source said about one zone and hour. `estimated` is the source's own word for a modelled value,
    `forecast` marks an hour that had not happened when the source spoke."""

    zone: str
    kind: Kind
    hour: int
    g_per_kwh: float
    source: str
    estimated: bool = False
    forecast: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "zone": self.zone,
            "kind": self.kind,
            "hour": self.hour,
            "g_per_kwh": self.g_per_kwh,
            "source": self.source,
            "estimated": self.estimated,
            "forecast": self.forecast,
        }


@dataclass(slots=True)
class Series:
    """The hours known of one zone in one kind. `newest` is the last hour known, None without any."""

    zone: str
    kind: Kind = "average-lifecycle"
    source: str = "unknown"
    hours: dict[int, float] = field(default_factory=dict)
    newest: int | None = None
    estimated: bool = False

    def add(self, hour: int, g_per_kwh: float) -> None:
        """Learns one hour; a value that no grid can have is left out."""
        if not sane(g_per_kwh):
            return
        self.hours[hour] = g_per_kwh
        if self.newest is None or hour > self.newest:
            self.newest = hour

    def take(self, readings: Iterable[Reading]) -> None:
        """Learns the readings of this zone and kind that are no forecasts."""
        for reading in readings:
            if reading.zone == self.zone and reading.kind == self.kind and not reading.forecast:
                self.add(reading.hour, reading.g_per_kwh)
                if reading.hour == self.newest:
                    self.source, self.estimated = reading.source, reading.estimated

    def forget(self, before: int) -> None:
        """Drops the hours before one."""
        self.hours = {hour: value for hour, value in self.hours.items() if hour >= before}
