"""`ecogate estimate`."""

from __future__ import annotations

import json

import pytest

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Site
from tests.cli.commands import ecogate

FLUX = "black-forest-labs/FLUX.1-dev"


def test_json_is_the_footprint_with_every_step_and_source() -> None:
    result = ecogate(
        *("estimate", "--model", FLUX, "--size", "1024x768", "--steps", "28", "--n", "2"),
        *("--gpu", "H100", "--precision", "bf16", "--zone", "FR", "--json"),
    )

    work = ImageWork(model=FLUX, n=2, width=1024, height=768, steps=28)
    expected = estimate(work, Site(zone="FR", gpu="H100", precision="bf16"), load_factors())
    shown = json.loads(result.stdout)
    assert json.loads(json.dumps(expected.as_json(explain=True))).items() <= shown.items()
    assert expected.gpu_energy_wh is not None
    assert shown["gpu_energy_wh"]["central"] == pytest.approx(expected.gpu_energy_wh.central / 2)
    assert result.exit_code == 0


def test_the_table_shows_three_quantities_with_their_ranges_and_what_was_assumed() -> None:
    lines = ecogate("estimate", "--model", FLUX, "--zone", "PL").stdout.splitlines()

    assert lines[0] == f"1 image(s) of {FLUX}, estimated by flops in zone PL"
    assert [line.split()[0] for line in lines[1:4]] == ["energy", "water", "carbon"]
    assert all(" to " in line for line in lines[1:4])
    assert any("PUE not known" in line for line in lines[4:])


def test_an_unknown_model_is_estimated_with_a_warning() -> None:
    assert "unknown" in ecogate("estimate", "--model", "nobody/knows-this").stdout.lower()


@pytest.mark.parametrize("size", ["10x", "0x0", "big"])
def test_a_size_that_is_none_is_a_mistake(size: str) -> None:
    result = ecogate("estimate", "--model", FLUX, "--size", size)

    assert result.exit_code == 2
    assert "pixels" in result.stderr
