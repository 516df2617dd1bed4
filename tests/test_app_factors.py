"""What the gateway reads before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.app import read_configuration
from gateway.errors import ConfigError
from gateway.footprint.factors import load_factors
from gateway.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

DEPLOYMENTS = """\
deployments:
  - id: one
    model: m
    base_url: http://127.0.0.1/v1
    location: {zone: ZZ}
"""
GRID = "grid:\n  - {zone: ZZ, country: Nowhere, gco2e_per_kwh: 5, source: our utility, year: 2026}\n"


def settings(folder: Path, factors: str) -> Settings:
    (folder / "deployments.yaml").write_text(DEPLOYMENTS)
    (folder / "factors.yaml").write_text(factors)
    return Settings(deployments=folder / "deployments.yaml", factors=folder / "factors.yaml")


def test_an_operators_factors_price_and_place_the_deployments(tmp_path: Path) -> None:
    configuration = read_configuration(settings(tmp_path, GRID))

    assert configuration.factors.grid["ZZ"].gco2e_per_kwh == 5
    assert configuration.factors.version != load_factors().version


def test_a_mistake_in_the_factors_stops_the_start_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"factors\.yaml:2:5: .*'year' is missing"):
        read_configuration(settings(tmp_path, GRID.replace(", year: 2026", "")))


def test_the_environment_names_the_factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECOGATE_FACTORS", str(tmp_path))

    assert Settings().factors == tmp_path
