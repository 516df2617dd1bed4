"""The check of all files at once."""

from __future__ import annotations

from pathlib import Path

from gateway.checks import check

ROOT = Path(__file__).parents[1]
YEAR = 2026
BAD = ROOT / "tests" / "deployments" / "bad" / "api-key-inline.yaml"


def test_what_we_ship_has_no_problem() -> None:
    assert check(ROOT / "policies", ROOT / "deploy" / "deployments.example.yaml", year=YEAR) == []


def test_problems_of_policies_and_deployments_come_together(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("budgets: 1\n")
    (tmp_path / "b.yaml").write_text("budgets: 2\n")

    problems = check(tmp_path, BAD, year=YEAR)

    assert [Path(problem.file).name for problem in problems] == ["a.yaml", "b.yaml", "api-key-inline.yaml"]


def test_nothing_to_read_has_no_problem() -> None:
    assert check(None, None, year=YEAR) == []


def test_a_zone_and_a_gpu_without_factors_are_problems(tmp_path: Path) -> None:
    file = tmp_path / "deployments.yaml"
    file.write_text(
        "deployments:\n"
        "  - id: one\n"
        "    model: m\n"
        "    base_url: http://127.0.0.1/v1\n"
        "    location: {zone: ZZ}\n"
        "    hardware: {gpu: Abacus}\n"
    )

    problems = check(None, file, year=YEAR)

    assert [str(problem).removeprefix(str(tmp_path)) for problem in problems] == [
        "/deployments.yaml:5:22: deployments[0].location.zone: there are no factors for zone 'ZZ'",
        "/deployments.yaml:6:21: deployments[0].hardware.gpu: there are no factors for GPU 'Abacus'",
    ]


def test_a_history_of_the_grid_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "deployments.yaml"
    file.write_text(
        "deployments:\n"
        "  - {id: one, model: m, base_url: 'http://127.0.0.1/v1', location: {zone: SE}}\n"
        "signals: {history: past.csv}\n"
    )
    missing = check(None, file, year=YEAR)
    (tmp_path / "past.csv").write_text("zone,time,gco2_per_kwh\nSE,2026-01-01T00:00Z,20\nSE,yesterday,20\n")
    broken = check(None, file, year=YEAR)
    (tmp_path / "past.csv").write_text("zone,time,gco2_per_kwh\nSE,2026-01-01T00:00Z,20\n")

    assert [str(one).removeprefix(str(tmp_path))[:27] for one in missing] == ["/past.csv:1:1: cannot be re"]
    assert [str(one).removeprefix(str(tmp_path))[:13] for one in broken] == ["/past.csv:3:4"]
    assert check(None, file, year=YEAR) == []


def test_references_are_resolved_where_an_environment_is_given() -> None:
    path = ROOT / "tests" / "deployments" / "good" / "full.yaml"

    assert [problem.line for problem in check(None, path, year=YEAR, environ={})] == [9, 20, 43]
    environ = {"FLUX_SE_KEY": "k", "OPENAI_API_KEY": "k", "WATTTIME": "user:password"}
    assert check(None, path, year=YEAR, environ=environ) == []


def test_a_grid_factor_grows_old() -> None:
    problems = check(None, None, year=YEAR + 20)

    assert problems
    assert all("stale" in problem.message for problem in problems)


def test_an_operators_factors_are_checked_with_everything_else(tmp_path: Path) -> None:
    old = tmp_path / "factors.yaml"
    old.write_text(
        "grid:\n  - {zone: ZZ, country: Nowhere, gco2e_per_kwh: 5, source: our utility, year: 2019}\n"
    )
    bad = tmp_path / "bad.yaml"
    bad.write_text("constants: &all []\ngpus: *all\n")

    [problem] = check(None, None, old, year=YEAR)
    assert (problem.line, "older than 3 years" in problem.message) == (2, True)
    assert {Path(one.file).name for one in check(None, BAD, bad, year=YEAR)} == {"bad.yaml", BAD.name}


def test_an_operators_zone_and_gpu_are_known_to_their_deployments(tmp_path: Path) -> None:
    deployments = tmp_path / "deployments.yaml"
    deployments.write_text(
        "deployments:\n"
        "  - id: one\n"
        "    model: m\n"
        "    base_url: http://127.0.0.1/v1\n"
        "    location: {zone: ZZ}\n"
        "    hardware: {gpu: Abacus}\n"
    )
    factors = tmp_path / "factors.yaml"
    factors.write_text(
        "grid:\n  - {zone: ZZ, country: Nowhere, gco2e_per_kwh: 5, source: our utility, year: 2026}\n"
        "gpus:\n  - {id: Abacus, tdp_w: 5, bf16_tflops: 1, source: our bench, year: 2026}\n"
    )

    assert check(None, deployments, factors, year=YEAR) == []


def test_a_budget_may_only_count_deployments_that_there_are(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        "budgets:\n"
        "  - name: a\n"
        "    limits: {images: 1}\n"
        "    window: {kind: calendar, every: day}\n"
        "    match: {deployment: flux-ec}\n"
        "  - name: b\n"
        "    limits: {images: 1}\n"
        "    window: {kind: calendar, every: day}\n"
        "    match: {deployment: [flux-eco, gone]}\n"
        "  - {name: c, limits: {images: 1}, window: {kind: calendar, every: day}, match: {deployment: '*'}}\n"
    )
    file = tmp_path / "deployments.yaml"
    file.write_text("deployments: [{id: flux-eco, model: m, base_url: 'http://127.0.0.1/v1'}]\n")

    first, second = (str(problem).removeprefix(f"{folder}/") for problem in check(folder, file, year=YEAR))

    assert first == (
        "a.yaml:5:25: budgets[0].match.deployment:"
        " 'flux-ec' is not the id of a deployment: did you mean 'flux-eco'?"
    )
    assert second == "a.yaml:9:36: budgets[1].match.deployment[1]: 'gone' is not the id of a deployment"
    assert check(folder, None, year=YEAR) == []


def test_a_policy_may_only_reroute_to_deployments_that_there_are(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        "budgets:\n"
        "  - name: a\n"
        "    limits: {images: 1}\n"
        "    window: {kind: calendar, every: day}\n"
        "    on_exceed: [{reroute: [flux-eco, flux-ecoo]}, deny]\n"
    )
    file = tmp_path / "deployments.yaml"
    file.write_text("deployments: [{id: flux-eco, model: m, base_url: 'http://127.0.0.1/v1'}]\n")

    (problem,) = check(folder, file, year=YEAR)

    assert str(problem).endswith(
        "a.yaml:5:38: budgets[0].on_exceed[0].reroute[1]:"
        " 'flux-ecoo' is not the id of a deployment: did you mean 'flux-eco'?"
    )
    assert check(folder, None, year=YEAR) == []
