"""Our electricity factors beside those of EcoLogits, an independent collection; docs/methodology.md explains.

EcoLogits takes carbon from Our World in Data (Ember's yearly data in an earlier edition), water from WRI and
ADPe from ADEME. Agreement shows that neither made a slip; the differences that remain have reasons.
"""

from __future__ import annotations

import json
from importlib import resources
from math import log
from statistics import median

import pytest

from gateway.footprint.estimate import estimate
from gateway.footprint.factors import load_factors
from gateway.footprint.quantities import ImageWork, Site

MIXES = {
    row["name"]: row
    for row in json.loads((resources.files("ecologits") / "data/electricity_mixes.json").read_text())[
        "electricity_mixes"
    ]
}


def pairs(own: str) -> dict[str, tuple[float, float]]:
    """Country to (our value, theirs in our unit)."""
    found = {}
    for row in load_factors().grid.values():
        theirs = MIXES.get(row.iso3 or "")
        if theirs is None:
            continue
        if own == "carbon":
            found[row.iso3 or ""] = (row.gco2e_per_kwh, float(theirs["gwp"]) * 1000)
        elif row.ewif_l_per_kwh is not None:
            found[row.iso3 or ""] = (row.ewif_l_per_kwh, float(theirs["wue"]))
    return found


def test_carbon_of_most_countries_agrees() -> None:
    """Years differ (2022 to 2024), so grids that changed fast differ; half agree within a few per cent."""
    found = pairs("carbon")
    apart = [abs(log(ours / theirs)) for ours, theirs in found.values()]

    assert len(found) >= 190
    assert median(apart) <= 0.08
    assert sum(distance <= 0.25 for distance in apart) / len(apart) >= 0.85


@pytest.mark.parametrize("country", ["FRA", "DEU", "USA", "SWE", "POL", "IND", "CHN", "JPN", "ZAF", "BRA"])
def test_carbon_of_large_countries_is_within_a_quarter(country: str) -> None:
    ours, theirs = pairs("carbon")[country]

    assert ours == pytest.approx(theirs, rel=0.25)


def test_water_is_the_same_wri_table() -> None:
    found = pairs("water")

    assert len(found) >= 45
    assert all(ours == pytest.approx(theirs, rel=1e-3) for ours, theirs in found.values())


def test_countries_without_their_own_water_differ_by_choice() -> None:
    """EcoLogits fills in 3.9 L/kWh; we take the generation-weighted 4.81 that WRI's tables give."""
    ours, theirs = load_factors().grid["WORLD"].ewif_l_per_kwh, float(MIXES["WOR"]["wue"])

    assert ours == 4.81
    assert theirs < 4.81


def test_minerals_of_electricity_hardly_matter_so_that_one_world_value_serves() -> None:
    """ADEME's values per country differ, but manufacture outweighs them in every one."""
    footprint = estimate(
        ImageWork("flux.1-dev", width=1024, height=1024, steps=50), Site(gpu="H100"), load_factors()
    )
    assert footprint.adpe_mg_sbeq is not None
    kwh = footprint.energy_wh.central / 1000
    worst = max(float(row["adpe"]) for row in MIXES.values()) * kwh * 1e6

    assert worst < 0.2 * footprint.adpe_mg_sbeq.central
