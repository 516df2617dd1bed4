"""What the README shows must work: its files pass the check, its commands and routes exist."""

import json
import re
from pathlib import Path

import pytest
import yaml

from gateway import checks
from gateway.app import describe
from gateway.settings import Settings

README = Path("README.md").read_text()
MAKEFILE = Path("Makefile").read_text()
BLOCKS = re.findall(r"(?ms)^```(\w+)\n(.*?)^```", README)


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def shape(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path)


def test_the_yaml_files_of_the_readme_pass_the_check(tmp_path: Path) -> None:
    deployments, policy = blocks("yaml")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "marketing.yaml").write_text(policy)
    (tmp_path / "deployments.yaml").write_text(deployments)

    assert checks.check(tmp_path / "policies", tmp_path / "deployments.yaml", year=2026) == []


def test_the_two_commands_stand_on_the_first_screen() -> None:
    first_screen = "\n".join(README.splitlines()[:25])

    assert "make demo" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?m)^make ([a-z]+)", "\n".join(blocks("sh"))))))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"(?m)^{target}:", MAKEFILE)


def test_every_route_is_described() -> None:
    described = {shape(path) for path in yaml.safe_load(describe())["paths"]}
    pages = {"/dashboard", "/docs"}

    routes = set(re.findall(r"`(?:GET |POST )?(/[a-z][\w/{}.]*)`", README)) - pages

    assert routes
    assert {route for route in routes if shape(route) not in described} == set()


def test_every_setting_exists() -> None:
    known = {f"ECOGATE_{name.upper()}" for name in Settings.model_fields}

    assert set(re.findall(r"ECOGATE_[A-Z_]+", README)) - {"ECOGATE_KEY"} <= known


def test_the_refusal_is_json() -> None:
    [refusal] = blocks("json")

    assert json.loads(refusal)["error"]["code"] == "eco_budget_exceeded"


def test_the_local_files_that_it_names_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert Path(path).exists()
