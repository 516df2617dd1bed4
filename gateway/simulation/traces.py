"""The requests of a simulation: `time,images[,deferrable_hours]`, in a CSV file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, Problem
from gateway.routing.signal_file import csv_rows, moment, refuse

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request: `at` in seconds of UTC since 1970, how many images, and how long it may wait."""

    at: float
    images: int
    deferrable_hours: float = 0.0


def read_requests(path: Path) -> list[Arrival]:
    """`time,images[,deferrable_hours]`, in order of time. Raises ConfigError."""
    arrivals: list[Arrival] = []
    problems: list[Problem] = []
    for line, row in csv_rows(path, ("time", "images")):
        try:
            waits = (row.get("deferrable_hours") or "").strip()
            arrival = Arrival(moment(row["time"]), int(row["images"]), float(waits) if waits else 0.0)
            if arrival.images < 0 or not 0 <= arrival.deferrable_hours < float("inf"):
                raise ValueError("images and deferrable_hours cannot be negative")
        except ValueError as error:
            problems.append(Problem(str(path), line, 1, str(error)))
            continue
        if arrival.images:
            arrivals.append(arrival)
    refuse(problems)
    if not arrivals:
        raise ConfigError([Problem(str(path), 1, 1, "there are no requests")])
    return sorted(arrivals, key=lambda arrival: arrival.at)
