"""`ecogate simulate`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from gateway.cli import app
from tests.simulation.traces import example_files

if TYPE_CHECKING:
    from pathlib import Path


def test_the_command_prints_json_of_the_published_shape(tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    options = [part for name, path in example_files(tmp_path).items() for part in (f"--{name}", str(path))]

    answer = CliRunner().invoke(app, ["simulate", *options, "--plot", str(chart), "--json"])

    assert answer.exit_code == 0, answer.output
    shown = json.loads(answer.output)
    assert set(shown["strategies"]) == {"even", "fixed", "policy", "optimum"}
    for one in shown["strategies"].values():
        assert {"gco2", "litres", "p95_s", "upstream_429", "switches"} <= set(one)
    assert chart.read_text().startswith("<svg")


def test_the_command_prints_a_table_for_people(tmp_path: Path) -> None:
    options = [part for name, path in example_files(tmp_path).items() for part in (f"--{name}", str(path))]

    answer = CliRunner().invoke(app, ["simulate", *options])

    assert answer.exit_code == 0, answer.output
    assert "of the optimum's saving" in answer.output


def test_a_file_that_is_not_there_is_told_with_exit_code_2(tmp_path: Path) -> None:
    files = example_files(tmp_path) | {"signals": tmp_path / "nowhere.csv"}
    options = [part for name, path in files.items() for part in (f"--{name}", str(path))]

    answer = CliRunner().invoke(app, ["simulate", *options])

    assert answer.exit_code == 2
    assert "nowhere.csv:1:1: cannot be read" in answer.output
