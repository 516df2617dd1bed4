"""What a zone's intensity is now, as well as one can know: the fallback ladder from live to yearly.

    live      the last value, carried along the usual shape of the day; at most 2 hours old
    blend     the same with the deviation fading; at most 12 hours old
    shape     mostly the mean of the same hour over 7 days; at most 48 hours old
    table     month x hour table of an earlier period
    yearly    the yearly factor (or that of the country, or a mix over the world)

The last value fades because stale data is worse than none: held for 12 hours, it loses to a fixed choice.
Pure; every step is labelled in the result, so that no estimate passes for a measurement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from gateway.routing.readings import Kind, Series
    from gateway.routing.tables import MonthHourTable

Quality = Literal["live", "blend", "shape", "table", "yearly"]

LIVE_H = 2
BLEND_H = 12
SHAPE_H = 48
DAYS = 7
FADE_H = 24.0
"""How fast a deviation from the usual day loses its say. Fitted on 16 zones of 2021 and 2022; anything from
12 to 48 does about as well."""
MOMENTUM = 0.3
"""How much of the last hour's change of deviation is carried on while the signal is live."""
LOWEST, HIGHEST = 0.3, 3.0
DISTRUST = 5.0
"""A live value this many times off its zone's table or yearly value is a fault of the source."""


@dataclass(frozen=True, slots=True)
class Intensity:
    """A zone's intensity for one hour. `age_h` is that of the newest reading, None where none was used."""

    g_per_kwh: float
    quality: Quality
    source: str
    kind: Kind = "average-lifecycle"
    age_h: int | None = None
    estimated: bool = True

    @property
    def priced(self) -> bool:
        """Whether a footprint may use it: prices are life-cycle averages, whatever the order goes by."""
        return self.kind == "average-lifecycle" and self.quality != "yearly"

    @property
    def told(self) -> str:
        """Where it comes from, in a sentence for records."""
        age = "" if self.age_h is None else f", {self.age_h} h old"
        return f"{self.source}, {self.quality}{age}"

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "g_per_kwh": round(self.g_per_kwh, 3),
            "quality": self.quality,
            "source": self.source,
            "kind": self.kind,
            "estimated": self.estimated,
        }
        if self.age_h is not None:
            shown["age_h"] = self.age_h
        return shown


def intensity_at(
    hour: int,
    series: Series | None,
    *,
    table: MonthHourTable | None = None,
    yearly_g_per_kwh: float,
    yearly_source: str,
) -> Intensity:
    """The intensity of an hour from the best rung of the ladder that holds."""
    usual = table.at(hour) if table is not None else None
    if series is not None and series.newest is not None:
        age = max(0, hour - series.newest)
        value = from_readings(series, hour, age) if age <= SHAPE_H else None
        if value is not None and not _distrusted(value, usual or yearly_g_per_kwh):
            quality: Quality = "live" if age <= LIVE_H else "blend" if age <= BLEND_H else "shape"
            exact = age == 0 and not series.estimated
            return Intensity(value, quality, series.source, series.kind, age, estimated=not exact)
    if table is not None and usual is not None:
        return Intensity(usual, "table", table.source, table.kind)
    return Intensity(yearly_g_per_kwh, "yearly", yearly_source)


def in_the_long_run(table: MonthHourTable | None) -> Intensity | None:
    """What a fixed choice goes by where there is a history: its mean. None leaves the yearly factor."""
    return None if table is None else Intensity(table.mean, "table", table.source, table.kind)


def from_readings(series: Series, hour: int, age: int) -> float | None:
    """The expected g/kWh of `hour` from readings that end `age` hours before it; None without that reading.

    The usual value of the hour, plus the last deviation from the usual, faded by its age.
    """
    hours = series.hours
    last = hours.get(hour - age)
    if last is None or age == 0:
        return last
    then, now = _usual(hours, hour - age, 1), _usual(hours, hour, -(-age // 24))
    if then is None or now is None:
        return last if age <= LIVE_H else None
    deviation = last - then
    carried = deviation
    if age <= LIVE_H:
        before, usual_before = hours.get(hour - age - 1), _usual(hours, hour - age - 1, 1)
        if before is not None and usual_before is not None:
            carried += MOMENTUM * (deviation - (before - usual_before))
    value = now + carried * math.exp(-age / FADE_H)
    if last == 0:
        return max(value, 0.0)  # a grid that was at nothing has no share to stay within
    return min(max(value, LOWEST * last), HIGHEST * last)


def _usual(hours: dict[int, float], hour: int, first_day: int) -> float | None:
    """The mean of the same hour over 7 days, the newest of them `first_day` days earlier."""
    total, count = 0.0, 0
    for day in range(first_day, first_day + DAYS):
        value = hours.get(hour - 24 * day)
        if value is not None:
            total += value
            count += 1
    return total / count if count else None


def _distrusted(value: float, usual: float) -> bool:
    return value > DISTRUST * max(usual, 50.0)
