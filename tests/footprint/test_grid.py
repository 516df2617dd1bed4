from __future__ import annotations

import pytest

from gateway.footprint.factors import load_factors
from gateway.footprint.grid import grid_row
from gateway.footprint.places import find_place
from gateway.footprint.quantities import Site

LB_PER_MWH = 0.45359237  # g per kWh


def value(zone: str) -> float:
    return find_place(Site(zone=zone), load_factors()).intensity.value


def test_more_than_200_countries_and_every_region_have_a_carbon_intensity() -> None:
    factors = load_factors()
    countries = [row for row in factors.grid.values() if row.iso3]
    zones = {region.zone for region in factors.regions.values() if region.zone}

    assert len(countries) >= 200
    assert len(zones) >= 50
    assert all(grid_row(zone, factors)[0] is not None for zone in zones)


def test_zones_of_the_united_states_differ() -> None:
    zones = ("US-CAL-CISO", "US-TEX-ERCO", "US-MIDA-PJM", "US-NW-BPAT", "US-MIDW-MISO", "US-NW-PACE")

    assert len({round(value(zone)) for zone in zones}) == len(zones)
    assert value("US-NW-BPAT") < value("US-CAL-CISO") < value("US-MIDA-PJM") < value("US-NW-PACE")


@pytest.mark.parametrize(
    ("zone", "lb"), [("US-CAMX", 429.983), ("US-TEX-ERCO", 736.629), ("US-SRVC", 596.326)]
)
def test_an_egrid_value_becomes_life_cycle_by_the_ratio_of_the_country(zone: str, lb: float) -> None:
    place = find_place(Site(zone=zone), load_factors())

    assert place.intensity.value == pytest.approx(lb * LB_PER_MWH * 1.097, rel=1e-3)
    assert "derived from direct" in place.carbon_basis
    assert "direct x 1.097" in (place.intensity.use.note or "")
    assert [use.id for use in place.intensity.via] == ["grid.lifecycle_ratio_us"]
    assert any("Only direct emissions" in sentence for sentence in place.assumptions)


def test_the_ratio_of_the_united_states_is_that_of_its_two_published_values() -> None:
    factors = load_factors()
    direct = 770.884 * LB_PER_MWH  # eGRID2023, whole country

    assert factors.constants["grid.lifecycle_ratio_us"].value == pytest.approx(
        factors.grid["US"].gco2e_per_kwh / direct, rel=1e-3
    )


def test_a_zone_without_fossil_plants_keeps_what_they_emit_over_their_life() -> None:
    place = find_place(Site(zone="CA-QC"), load_factors())

    assert place.intensity.value == pytest.approx(5.48 * 1.1 + 25)
    assert place.intensity.value < value("CA")
    assert len(place.intensity.via) == 2


def test_a_derived_value_is_wider_than_a_published_one_and_narrower_than_the_countrys() -> None:
    derived, published, country = (
        find_place(Site(zone=zone), load_factors()).intensity.spread.up for zone in ("US-CAMX", "US", "CA-AB")
    )

    assert published < derived < country


def test_every_value_is_compared_as_life_cycle() -> None:
    factors = load_factors()

    assert all("life-cycle" in find_place(Site(zone=zone), factors).carbon_basis for zone in factors.grid)


def test_a_zone_of_a_country_uses_the_water_of_the_country() -> None:
    zone, country = (find_place(Site(zone=zone), load_factors()).ewif for zone in ("US-CAL-CISO", "US"))

    assert zone.value == country.value == pytest.approx(3.1321)
