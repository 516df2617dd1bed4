"""Which files the settings name, and what they come to as one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from gateway.configuration import read_configuration
from gateway.errors import ConfigError
from gateway.footprint.factors import load_factors
from gateway.settings import Settings
from gateway.upstreams.deployment_file import OPENAI_IMAGE_MODELS
from tests.test_app import DEPLOYMENTS, settings

if TYPE_CHECKING:
    from pathlib import Path


GRID = "grid:\n  - {zone: ZZ, country: Nowhere, gco2e_per_kwh: 5, source: our utility, year: 2026}\n"


def test_without_a_deployments_file_an_openai_key_offers_the_models_of_openai(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-something")

    (deployment,) = read_configuration(settings(tmp_path)).deployments.deployments

    assert deployment.base_url == "https://api.openai.com/v1"
    assert deployment.models == OPENAI_IMAGE_MODELS
    assert deployment.api_key == SecretStr("sk-something")
    assert deployment.location.zone is None


def with_factors(folder: Path, factors: str) -> Settings:
    (folder / "deployments.yaml").write_text(DEPLOYMENTS)
    (folder / "factors.yaml").write_text(factors)
    return Settings(deployments=folder / "deployments.yaml", factors=folder / "factors.yaml")


def test_an_operators_factors_price_and_place_the_deployments(tmp_path: Path) -> None:
    configuration = read_configuration(with_factors(tmp_path, GRID))

    assert configuration.factors.grid["ZZ"].gco2e_per_kwh == 5
    assert configuration.factors.version != load_factors().version


def test_a_mistake_in_the_factors_stops_the_start_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"factors\.yaml:2:5: .*'year' is missing"):
        read_configuration(with_factors(tmp_path, GRID.replace(", year: 2026", "")))


def test_the_environment_names_the_factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECOGATE_FACTORS", str(tmp_path))

    assert Settings().factors == tmp_path
