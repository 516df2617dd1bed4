"""Whole simulations on traces that are made here, and the command around them."""

from __future__ import annotations

import csv
import json
import math
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import ConfigError
from gateway.simulation.simulate import Question, Result, run

if TYPE_CHECKING:
    from collections.abc import Callable
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


def write_deployments(path: Path, zones: list[str], **routing: Any) -> Path:
    listed = [
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
    path.write_text(yaml.safe_dump({"deployments": listed, **({"routing": routing} if routing else {})}))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "signals": write_signals(tmp_path / "signals.csv", START, DAYS, ZONES),
        "history": write_signals(tmp_path / "history.csv", START - timedelta(days=60), 60, ZONES, seed=7),
        "requests": write_requests(tmp_path / "requests.csv", 2, DAYS),
        "deployments": write_deployments(tmp_path / "deployments.yaml", list(ZONES)),
    }


def simulated(files: dict[str, Path], **options: Any) -> Result:
    return run(Question(**{**files, **options}))


def test_an_hour_old_signal_reaches_nearly_the_optimum(files: dict[str, Path]) -> None:
    result = simulated(files)

    share, saving = result.share_of_optimum(), result.saving("policy", "fixed")
    assert share is not None
    assert saving is not None
    assert share >= 0.97
    assert saving > 0.1


@pytest.mark.parametrize("age", [0, 3, 6, 12, 24, 48, 200])
def test_no_age_of_the_signal_makes_it_worse_than_the_fixed_choice(
    files: dict[str, Path], age: float
) -> None:
    result = simulated(files, signal_age_h=age)

    assert result.strategies["policy"].gco2 <= result.strategies["fixed"].gco2 * 1.005


def test_an_outage_does_not_make_it_worse_than_the_fixed_choice(files: dict[str, Path]) -> None:
    result = simulated(files, outage="2025-03-10T00:00:00Z/2025-03-20T00:00:00Z")

    assert result.strategies["policy"].gco2 <= result.strategies["fixed"].gco2 * 1.005
    assert result.acted_share < 0.95


def test_the_optimum_is_never_beaten_and_all_serve_the_same_images(files: dict[str, Path]) -> None:
    strategies = simulated(files).strategies

    least = strategies["optimum"].gco2
    assert all(one.gco2 >= least for one in strategies.values())
    assert len({one.images for one in strategies.values()}) == 1


def test_without_history_the_fixed_choice_goes_by_yearly_factors(files: dict[str, Path]) -> None:
    result = simulated({**files, "history": None})  # type: ignore[dict-item]

    assert list(result.strategies["fixed"].by_deployment) == ["es"]


def test_shared_leases_keep_upstreams_from_refusing(files: dict[str, Path], tmp_path: Path) -> None:
    # 6 slots x 12 s each in 3 zones serve 5400 images per hour; 72 % of that arrive.
    busy = write_requests(tmp_path / "busy.csv", 3888, 0.5)

    result = simulated(files, requests=busy, capacity=6, gateways=8, seconds_per_image=12)

    assert result.strategies["policy"].upstream_429 == 0
    assert result.strategies["fixed"].upstream_429 > 100
    assert result.strategies["policy"].p95_s < 20
    share = result.share_of_optimum()
    assert share is not None
    assert share > 0.97


def test_a_full_deployment_makes_images_wait(files: dict[str, Path], tmp_path: Path) -> None:
    crowd = write_requests(tmp_path / "crowd.csv", 20, 1, images=40)

    result = simulated(files, requests=crowd, capacity=2, seconds_per_image=10)

    assert result.strategies["policy"].p95_s > 10


def test_the_water_objective_minimises_water(files: dict[str, Path]) -> None:
    carbon, water = simulated(files), simulated(files, objective="water")

    assert water.strategies["optimum"].litres <= carbon.strategies["optimum"].litres


def test_the_rules_of_the_deployments_file_hold(files: dict[str, Path], tmp_path: Path) -> None:
    only_poland = write_deployments(tmp_path / "pl.yaml", list(ZONES), residency=["pl"])

    result = simulated(files, deployments=only_poland)

    assert list(result.strategies["policy"].by_deployment) == ["pl"]


def test_the_command_prints_json_of_the_published_shape(files: dict[str, Path], tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    options = [part for name, path in files.items() for part in (f"--{name}", str(path))]

    answer = CliRunner().invoke(app, ["simulate", *options, "--plot", str(chart), "--json"])

    assert answer.exit_code == 0, answer.output
    shown = json.loads(answer.output)
    assert set(shown["strategies"]) == {"even", "fixed", "policy", "optimum"}
    for one in shown["strategies"].values():
        assert {"gco2", "litres", "p95_s", "upstream_429", "switches"} <= set(one)
    assert chart.read_text().startswith("<svg")


def test_the_command_prints_a_table_for_people(files: dict[str, Path]) -> None:
    options = [part for name, path in files.items() for part in (f"--{name}", str(path))]

    answer = CliRunner().invoke(app, ["simulate", *options])

    assert answer.exit_code == 0, answer.output
    assert "of the optimum's saving" in answer.output


def test_zones_without_signals_are_named(files: dict[str, Path], tmp_path: Path) -> None:
    elsewhere = write_deployments(tmp_path / "se.yaml", ["SE"])

    with pytest.raises(ConfigError, match="no signals for zone SE"):
        simulated(files, deployments=elsewhere)


def test_requests_outside_the_time_of_the_signals_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    late = tmp_path / "late.csv"
    late.write_text("time,images\n2031-01-01T00:00:00Z,1\n")

    with pytest.raises(ConfigError, match="outside the time of the signals"):
        simulated(files, requests=late)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("signals", "zone,time\nSE,2025-01-01\n", "column gco2_per_kwh is missing"),
        ("signals", "zone,time,gco2_per_kwh\nSE,2025-01-01T00:00Z,-3\n", "is no grid's intensity"),
        ("signals", "zone,time,gco2_per_kwh\nSE,yesterday,3\n", ":2:1: "),
        ("requests", "time,images\n2025-03-01T00:00Z,many\n", ":2:1: "),
        ("requests", "time,images\n", "there are no requests"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(
    files: dict[str, Path], tmp_path: Path, name: str, text: str, expected: str
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(text)

    with pytest.raises(ConfigError, match=expected):
        simulated({**files, name: bad})


@pytest.mark.parametrize("outage", ["2025-03-10", "2025-03-10/2025-03-09", "a/b"])
def test_an_outage_that_is_no_period_is_refused(files: dict[str, Path], outage: str) -> None:
    with pytest.raises(ConfigError, match="--outage"):
        simulated(files, outage=outage)
