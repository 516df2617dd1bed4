"""The check of all files at once."""

from __future__ import annotations

from pathlib import Path

from gateway.checks import check

ROOT = Path(__file__).parents[1]
BAD = ROOT / "tests" / "deployments" / "bad" / "api-key-inline.yaml"


def test_what_we_ship_has_no_problem() -> None:
    assert check(ROOT / "policies", ROOT / "deploy" / "deployments.example.yaml") == []


def test_problems_of_policies_and_deployments_come_together(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("budgets: 1\n")
    (tmp_path / "b.yaml").write_text("budgets: 2\n")

    problems = check(tmp_path, BAD)

    assert [Path(problem.file).name for problem in problems] == ["a.yaml", "b.yaml", "api-key-inline.yaml"]


def test_nothing_to_read_has_no_problem() -> None:
    assert check(None, None) == []


def test_an_environment_and_known_names_are_checked_where_given() -> None:
    path = ROOT / "tests" / "deployments" / "good" / "full.yaml"

    problems = check(
        None, path, environ={"FLUX_SE_KEY": "k", "OPENAI_API_KEY": "k"}, known_zone={"FR"}.__contains__
    )

    assert [problem.message for problem in problems] == [
        "deployments[0].location.zone: there are no factors for zone 'SE-SE3'"
    ]
    assert [problem.line for problem in check(None, path, environ={})] == [7, 17]
