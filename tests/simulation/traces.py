"""Traces that are made here: a sunny, a windy and a dirty zone, and requests."""

from __future__ import annotations

import csv
import math
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

START = datetime(2025, 3, 1, tzinfo=UTC)
DAYS = 35


def sunny(hour: int, noise: random.Random) -> float:
    return 320 - 240 * max(0.0, math.sin((hour % 24 - 6) * math.pi / 12)) + noise.gauss(0, 10)


def windy(hour: int, noise: random.Random) -> float:
    return 230 + 110 * math.sin(hour * 2 * math.pi / 61) + noise.gauss(0, 12)


def steady(level: float) -> Callable[[int, random.Random], float]:
    return lambda _, noise: level + noise.gauss(0, level / 100)


ZONES = {"ES": sunny, "IE": windy, "PL": steady(600)}


def write_signals(path: Path, start: datetime, days: int, zones: dict[str, Any], seed: int = 1) -> Path:
    noise = random.Random(seed)
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["zone", "time", "gco2_per_kwh", "water_l_per_kwh"])
        for zone, shape in zones.items():
            for hour in range(days * 24):
                time = (start + timedelta(hours=hour)).isoformat().replace("+00:00", "Z")
                rows.writerow([zone, time, f"{max(5.0, shape(hour, noise)):.2f}", "1.5"])
    return path


def write_requests(path: Path, per_hour: float, days: float, images: int = 1) -> Path:
    noise = random.Random(2)
    at, end = 0.0, days * 24
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["time", "images", "deferrable_hours"])
        while (at := at + noise.expovariate(per_hour)) < end:
            rows.writerow([(START + timedelta(hours=at)).isoformat(), images, 0])
    return path


def write_deployments(
    path: Path, zones: list[str], slots: Mapping[str, int | None] | None = None, **routing: Any
) -> Path:
    """Deployments with their zone's name in small letters; `slots` are their capacities."""
    listed: list[dict[str, Any]] = [
        {
            "id": zone.lower(),
            "model": "m",
            "upstream_model": "black-forest-labs/FLUX.1-dev",
            "base_url": "http://images.example/v1",
            "location": {"provider": "self", "zone": zone, "pin": "region"},
            "hardware": {"gpu": "H100", "pue": 1.1, "wue_l_per_kwh": 0.1},
        }
        for zone in zones
    ]
    for one in listed:
        capacity = (slots or {}).get(one["id"])
        if capacity is not None:
            one["capacity"] = {"concurrency": capacity}
    path.write_text(yaml.safe_dump({"deployments": listed, **({"routing": routing} if routing else {})}))
    return path


def example_files(directory: Path) -> dict[str, Path]:
    """Everything that a simulation reads, by the name of its option."""
    return {
        "signals": write_signals(directory / "signals.csv", START, DAYS, ZONES),
        "history": write_signals(directory / "history.csv", START - timedelta(days=60), 60, ZONES, seed=7),
        "requests": write_requests(directory / "requests.csv", 2, DAYS),
        "deployments": write_deployments(directory / "deployments.yaml", list(ZONES)),
    }
