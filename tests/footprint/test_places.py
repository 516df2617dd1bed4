from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.footprint.factors import load_factors
from gateway.footprint.places import find_place, zone_country
from gateway.footprint.quantities import Site


@pytest.mark.parametrize("zone", ["FR", "fr", "FRA", " FR ", "FR-COR", "France"])
def test_a_zone_leads_to_its_country(zone: str) -> None:
    row = zone_country(zone, load_factors())

    assert row is not None
    assert row.country == "France"


@pytest.mark.parametrize("zone", ["??", "ZZ", "", "EUROPE", "WORLD"])
def test_another_name_is_no_country(zone: str) -> None:
    assert zone_country(zone, load_factors()) is None


def test_part_of_a_country_uses_the_countrys_value_with_wider_bounds() -> None:
    part, whole = (find_place(Site(zone=zone), load_factors()) for zone in ("CA-AB", "CA"))

    assert part.zone == "CA-AB"
    assert part.intensity.value == whole.intensity.value == pytest.approx(184.99)
    assert part.intensity.spread.up > whole.intensity.spread.up
    assert "whole country" in part.carbon_basis
    assert any("Canada" in sentence for sentence in part.assumptions)


def test_an_unknown_zone_is_the_world_and_says_so() -> None:
    place = find_place(Site(provider="openai"), load_factors())

    assert place.zone is None
    assert place.intensity.value == pytest.approx(472.94)
    assert place.ewif.value == pytest.approx(4.81)
    assert place.warnings[0].startswith("unknown_zone:")


def test_a_cloud_region_brings_its_own_zone_pue_and_wue() -> None:
    place = find_place(Site(provider="aws", region="eu-north-1"), load_factors())

    assert (place.zone, place.pue.value, place.wue.value) == ("SE", 1.10, 0.02)
    assert place.water_basis == "mixed"
    assert (place.pue.use.year, place.wue.use.year) == (2024, 2024)


@pytest.mark.parametrize(
    ("provider", "region", "zone"),
    [
        ("azure", "Sweden Central", "SE"),
        ("azure-openai", "swedencentral", "SE"),
        ("vertex", "europe-north1", "FI"),
        ("bedrock", "us-east-1", "US-MIDA-PJM"),
    ],
)
def test_providers_and_regions_are_found_in_common_spellings(provider: str, region: str, zone: str) -> None:
    assert find_place(Site(provider=provider, region=region), load_factors()).zone == zone


def test_the_operators_own_values_win() -> None:
    site = Site(provider="aws", region="eu-north-1", zone="FR", pue=1.3, wue_l_per_kwh=0.0)
    place = find_place(site, load_factors())

    assert (place.zone, place.pue.value, place.wue.value) == ("FR", 1.3, 0.0)
    assert place.water_basis == "consumption"


def test_a_region_name_of_a_cloud_says_nothing_about_ones_own_machines() -> None:
    place = find_place(Site(provider="self", region="eu-north-1"), load_factors())

    assert place.zone is None
    assert place.pue.use.id == "pue.unknown_self"


def test_a_reading_replaces_the_yearly_intensity() -> None:
    site = Site(zone="SE", carbon_intensity_g_per_kwh=12.5, carbon_intensity_source="a feed")
    place = find_place(site, load_factors())

    assert (place.intensity.value, place.intensity.use.source) == (12.5, "a feed")
    assert "reading" in place.carbon_basis


def test_a_country_without_a_water_factor_uses_the_world_with_wider_bounds() -> None:
    place = find_place(Site(zone="SG"), load_factors())

    assert place.ewif.value == pytest.approx(4.81)
    assert place.ewif.spread.up == pytest.approx(0.8)
    assert any("Singapore" in sentence for sentence in place.assumptions)


@pytest.mark.parametrize(
    ("region", "provider", "zone"),
    [
        ("eu-north-1", "aws", "SE"),
        ("us-east-1a", "aws", "US-MIDA-PJM"),
        ("europe-west9", "gcp", "FR"),
        ("us-central1-b", "gcp", "US-MIDW-MISO"),
        ("West Europe", "azure", "NL"),
    ],
)
def test_a_region_without_provider_is_found_where_only_one_cloud_has_it(
    region: str, provider: str, zone: str
) -> None:
    place = find_place(Site(region=region), load_factors())

    assert place.zone == zone
    assert place.pue.use.id.startswith(f"pue.{provider}.")
    assert any("Provider not given" in sentence for sentence in place.assumptions)


def test_every_cloud_region_is_found_without_its_provider() -> None:
    factors = load_factors()
    clouds = [(p, r) for p, r in factors.regions if p in ("aws", "azure", "gcp") and r != "*"]

    assert len(clouds) >= 140
    for provider, region in clouds:
        place = find_place(Site(region=region), factors)
        assert place.zone == factors.regions[provider, region].zone, region


def test_a_name_that_two_providers_share_is_not_guessed() -> None:
    factors = load_factors()
    twin = factors.regions["aws", "eu-north-1"].model_copy(update={"provider": "mine"})
    shared = replace(factors, regions={**factors.regions, ("mine", "eu-north-1"): twin})
    place = find_place(Site(region="eu-north-1"), shared)

    assert place.zone is None
    assert place.warnings[0].startswith("ambiguous_region:")


def test_a_region_that_nobody_knows_is_told() -> None:
    place = find_place(Site(provider="aws", region="mars-north-1"), load_factors())

    assert place.warnings[0].startswith("unknown_region:")
    assert place.pue.use.id == "pue.aws.*"
    assert not find_place(Site(provider="aws", region="mars-north-1", zone="SE"), load_factors()).warnings


def test_a_market_value_stands_beside_and_changes_nothing() -> None:
    without, given = (
        find_place(Site(zone="FR", market_carbon_intensity_g_per_kwh=value), load_factors())
        for value in (None, 0.0)
    )

    assert without.market is None
    assert given.market is not None
    assert given.market.value == 0.0
    assert given.intensity == without.intensity


def test_fleet_values_are_wider_than_those_of_a_region() -> None:
    region = find_place(Site(provider="aws", region="eu-north-1"), load_factors())
    fleet = find_place(Site(provider="aws", zone="SE"), load_factors())

    assert fleet.pue.spread.up > region.pue.spread.up
    assert fleet.wue.spread.up > region.wue.spread.up
