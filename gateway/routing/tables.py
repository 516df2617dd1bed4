"""Month x hour tables: the usual intensity of a zone by month and hour of UTC.

288 numbers say most of what live data says about zones whose day has a shape. Months without data are None,
never a neighbour's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.routing.readings import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.routing.readings import Kind


@dataclass(frozen=True, slots=True)
class MonthHourTable:
    """`cells` by (month 1..12, hour 0..23), in g/kWh; `mean` is that of all hours it was built from."""

    zone: str
    cells: Mapping[tuple[int, int], float]
    mean: float
    source: str
    kind: Kind = "average-lifecycle"

    def at(self, hour: int) -> float | None:
        """The usual value of an hour (counted since 1970)."""
        return self.cells.get(month_and_hour(hour))

    @classmethod
    def learnt(cls, zone: str, hours: Mapping[int, float], source: str) -> MonthHourTable | None:
        """The table of the hours given; None without any."""
        if not hours:
            return None
        sums: dict[tuple[int, int], tuple[float, int]] = {}
        for hour, value in hours.items():
            cell = month_and_hour(hour)
            total, count = sums.get(cell, (0.0, 0))
            sums[cell] = (total + value, count + 1)
        cells = {cell: total / count for cell, (total, count) in sums.items()}
        return cls(zone, cells, sum(hours.values()) / len(hours), source)


def month_and_hour(hour: int) -> tuple[int, int]:
    """The month and the hour of the day, both of UTC, of an hour counted since 1970."""
    return _month(hour // 24), hour % 24


@lru_cache(maxsize=4096)
def _month(day: int) -> int:
    return datetime.fromtimestamp(day * 24 * SECONDS_PER_HOUR, UTC).month
