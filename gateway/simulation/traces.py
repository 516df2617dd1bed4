"""The requests of a simulation: `time,images[,deferrable_hours]`, in a CSV file."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, Problem
from gateway.routing.signal_file import BadCell, csv_rows, moment, number, refuse

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request: `at` in seconds of UTC since 1970, how many images, and how long it may wait."""

    at: float
    images: int
    deferrable_hours: float = 0.0


def read_requests(path: Path, within: tuple[float, float] = (-inf, inf)) -> list[Arrival]:
    """`time,images[,deferrable_hours]`, in order of time. Raises ConfigError, also for times not `within`."""

    def time(text: str) -> float:
        at = moment(text)
        if not within[0] <= at < within[1]:
            raise ValueError("is outside the time of the signals")
        return at

    arrivals: list[Arrival] = []
    problems: list[Problem] = []
    for row in csv_rows(path, ("time", "images")):
        try:
            arrival = Arrival(
                row.read("time", time), row.read("images", _images), row.read("deferrable_hours", _hours)
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
    images = number(text)
    if images < 0:
        raise ValueError("images cannot be negative")
    if not images.is_integer():
        raise ValueError("images must be a whole number")
    return int(images)


def _hours(text: str) -> float:
    hours = number(text) if text.strip() else 0.0
    if not 0 <= hours < inf:
        raise ValueError("deferrable_hours cannot be negative or endless")
    return hours
