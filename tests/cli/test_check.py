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


YEAR = "  - {name: teams, per: [team], limits: {images: 5}, window: {kind: calendar, every: year}}\n"


def folder(at: Path, budget: str) -> str:
    at.mkdir()
    (at / "teams.yaml").write_text(f"budgets:\n{budget}")
    return str(at)


def test_budgets_that_would_start_at_zero_in_their_window_are_named_and_are_no_mistake(
    tmp_path: Path,
) -> None:
    old, new = folder(tmp_path / "old", YEAR), folder(tmp_path / "new", YEAR.replace("[team]", "[user]"))
    broken = folder(tmp_path / "broken", YEAR.replace("year", "lunar"))

    same = ecogate("check", "--policies", new, "--replacing", new)
    other = ecogate("check", "--policies", new, "--replacing", old)
    listed = ecogate("check", "--policies", new, "--replacing", old, "--json")
    unread = ecogate("check", "--policies", new, "--replacing", broken)
    alone = ecogate("check", "--replacing", old)

    assert (same.exit_code, same.stdout) == (0, f"no problems in {new}, the bundled factors\n")
    assert other.exit_code == 0
    expected = f"{new}/teams.yaml:2: budget 'teams' starts at zero, because its 'per' changed"
    assert other.stdout.splitlines()[1].startswith(expected)
    (row,) = json.loads(listed.stdout)["restarts"]
    assert (row["budget"], row["file"], row["line"]) == ("teams", f"{new}/teams.yaml", 2)
    assert (unread.exit_code, unread.stderr.startswith(f"{broken}/teams.yaml:2:")) == (1, True)
    assert alone.exit_code == 2


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
