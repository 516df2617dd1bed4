"""Files of the grid: `zone,time,gco2_per_kwh[,water_l_per_kwh]`, one row per zone and time.

Strict: a row that cannot be read is an error with its line, never skipped. Times are RFC 3339; one without an
offset is UTC. Knows files, not what is done with them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, Problem
from gateway.routing.readings import hour_of, sane

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_WATER_L_PER_KWH = 1000.0


@dataclass(slots=True)
class Trace:
    """Hourly carbon (g/kWh) and, where the file has it, water (L/kWh) by zone and hour since 1970."""

    carbon: dict[str, dict[int, float]] = field(default_factory=dict)
    water: dict[str, dict[int, float]] = field(default_factory=dict)


def moment(text: str) -> float:
    """Seconds of UTC since 1970. Raises ValueError."""
    read = datetime.fromisoformat(text.strip())
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def read_signals(path: Path) -> Trace:
    """`zone,time,gco2_per_kwh[,water_l_per_kwh]`; an hour's rows are averaged. Raises ConfigError."""
    sums: dict[str, dict[int, list[float]]] = {}
    waters: dict[str, dict[int, list[float]]] = {}
    problems: list[Problem] = []
    for line, row in csv_rows(path, ("zone", "time", "gco2_per_kwh")):
        try:
            zone, hour = row["zone"].strip().upper(), hour_of(moment(row["time"]))
            carbon = float(row["gco2_per_kwh"])
            if not zone or not sane(carbon):
                raise ValueError(f"{carbon:g} g/kWh is no grid's intensity" if zone else "zone is empty")
            water = row.get("water_l_per_kwh") or ""
            if water.strip():
                litres = float(water)
                if not 0 <= litres < MAX_WATER_L_PER_KWH:
                    raise ValueError(f"{litres:g} L/kWh cannot be")
                waters.setdefault(zone, {}).setdefault(hour, []).append(litres)
        except ValueError as error:
            problems.append(Problem(str(path), line, 1, str(error)))
            continue
        sums.setdefault(zone, {}).setdefault(hour, []).append(carbon)
    refuse(problems)
    return Trace(_means(sums), _means(waters))


def csv_rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with their lines. Raises ConfigError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError([Problem(str(path), 1, 1, f"column {', '.join(missing)} is missing")])
            for row in reader:
                if any(row[name] is None for name in needed):
                    raise ConfigError([Problem(str(path), reader.line_num, 1, "the row is too short")])
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Problem(str(path), 1, 1, f"cannot be read: {error}")]) from None


def _means(sums: dict[str, dict[int, list[float]]]) -> dict[str, dict[int, float]]:
    return {
        zone: {hour: sum(values) / len(values) for hour, values in hours.items()}
        for zone, hours in sums.items()
    }


def refuse(problems: list[Problem]) -> None:
    """Raises ConfigError with the first problems, if there are any."""
    if problems:
        raise ConfigError(problems[:50])
