"""The requests of a simulation: `time,images[,deferrable_hours]`, in a CSV file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, Problem
from gateway.routing.signal_file import BadCell, csv_rows, moment, refuse

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
    for row in csv_rows(path, ("time", "images")):
        try:
            arrival = Arrival(
                row.read("time", moment), row.read("images", _images), row.read("deferrable_hours", _hours)
            )
        except BadCell as bad:
            problems.append(bad.problem)
            continue
        if arrival.images:
            arrivals.append(arrival)
    refuse(problems)
    if not arrivals:
        raise ConfigError([Problem(str(path), 1, 1, "there are no requests")])
    return sorted(arrivals, key=lambda arrival: arrival.at)


def _images(text: str) -> int:
    images = int(text)
    if images < 0:
        raise ValueError("images cannot be negative")
    return images


def _hours(text: str) -> float:
    hours = float(text) if text.strip() else 0.0
    if not 0 <= hours < float("inf"):
        raise ValueError("deferrable_hours cannot be negative or endless")
    return hours
