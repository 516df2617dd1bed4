"""`ecogate check`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.commands import ecogate

SHIPPED = ("--deployments", "deploy/deployments.example.yaml", "--policies", "policies")


def test_good_files_are_named_and_the_exit_code_is_0() -> None:
    result = ecogate("check", *SHIPPED)

    assert result.exit_code == 0
    assert result.stdout == "no problems in deploy/deployments.example.yaml, policies, the bundled factors\n"


def test_every_mistake_is_a_line_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "teams.yaml"
    file.write_text(
        "budgets:\n  - name: a\n    limits: {carbon: 5}\n    window: {kind: lunar, every: month}\n"
    )

    result = ecogate("check", "--policies", str(tmp_path))

    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"{file}:3:22: ")
    assert lines[1].startswith(f"{file}:4:20: ")


def test_mistakes_as_json(tmp_path: Path) -> None:
    (tmp_path / "teams.yaml").write_text("budgets: 1\n")

    result = ecogate("check", "--policies", str(tmp_path), "--json")

    (problem,) = json.loads(result.stdout)["problems"]
    assert result.exit_code == 1
    assert (Path(problem["file"]).name, problem["line"], problem["column"]) == ("teams.yaml", 1, 10)
    assert problem["message"]


def test_the_files_may_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "teams.yaml").write_text("budgets: 1\n")

    assert ecogate("check", ECOGATE_POLICIES=str(tmp_path)).exit_code == 1
