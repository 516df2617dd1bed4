"""What is known about the place where work runs: PUE, WUE, carbon and water of its electricity.

Falls back from region to provider's fleet to industry, and from zone to country to world; each fallback
widens the band and is told. Every intensity leaves here as life-cycle, so that zones compare in one kind.
Refuses to know models and GPUs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.footprint.grid import WORLD, ewif, grid_row, intensity
from gateway.footprint.known import Known, spread
from gateway.footprint.quantities import FactorUse, Site

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.footprint.entries import GridZone, Region
    from gateway.footprint.factors import FactorSet

PROVIDERS = {
    "amazon": "aws",
    "bedrock": "aws",
    "amazon-bedrock": "aws",
    "sagemaker": "aws",
    "microsoft": "azure",
    "azure-openai": "azure",
    "azure_openai": "azure",
    "google": "gcp",
    "google-cloud": "gcp",
    "vertex": "gcp",
    "vertex-ai": "gcp",
    "vertex_ai": "gcp",
    "gemini": "gcp",
}
ON_PREMISES = frozenset({"self", "self-hosted", "on-prem", "onprem", "on-premises", "local"})
FLEET = "*"
AVAILABILITY_ZONE = re.compile(r"(?<=\d)-?[a-f]$")  # us-east-1a, us-central1-b


@dataclass(frozen=True, slots=True)
class Place:
    """Everything the chain needs to know of a site. `zone` is None when nobody knows it."""

    zone: str | None
    pue: Known
    wue: Known
    intensity: Known
    ewif: Known
    adpe: FactorUse
    market: Known | None
    water_basis: str
    carbon_basis: str
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]


@lru_cache(maxsize=4096)
def find_place(site: Site, factors: FactorSet) -> Place:
    """The factors of a site; `site`'s own values win over disclosures."""
    told: list[str] = []
    warned: list[str] = []
    provider = (site.provider or "").strip().lower()
    provider = PROVIDERS.get(provider, provider)
    region = _region(site, provider, factors, told, warned)
    provider = region.provider if region else provider
    fleet = factors.regions.get((provider, FLEET))
    pue = _pue(site, provider, region or fleet, factors, told)
    wue, onsite_basis = _wue(site, region or fleet, factors, told)
    zone = (site.zone or (region.zone if region else None) or "").strip().upper() or None
    if zone and region and not site.zone:
        told.append(f"Zone not given: {zone}, that of {region.provider} {region.region}.")
    row, exact = grid_row(zone, factors)
    world = row is None
    if row is None:
        zone = None if not zone or zone == WORLD else zone
        row = factors.grid[WORLD]
        told.append("Electricity zone unknown: world averages for carbon and water.")
        warned.append("unknown_zone: carbon and water use world averages with wide bounds.")
    carbon, carbon_basis = intensity(site, row, factors, exact=exact, told=told)
    water = ewif(row, factors, told)
    return Place(
        zone=zone,
        pue=pue,
        wue=wue,
        intensity=carbon,
        ewif=water,
        adpe=factors.constant_uses["grid.adpe_world"],
        market=_market(site, region, factors),
        water_basis="consumption" if onsite_basis == "consumption" else "mixed",
        carbon_basis=carbon_basis
        if not world or site.carbon_intensity_g_per_kwh
        else f"{carbon_basis}, world",
        assumptions=tuple(told),
        warnings=tuple(warned),
    )


def find_region(provider: str | None, name: str, factors: FactorSet) -> Region | None:
    """The bundled region of a name as a cloud writes it (`UK South`, `uksouth`), if it is known."""
    cloud = (provider or "").strip().lower()
    return _region(Site(region=name), PROVIDERS.get(cloud, cloud), factors, [], [])


def zone_country(zone: str, factors: FactorSet) -> GridZone | None:
    """The row of a zone or else of its country: `FR`, `FRA`, `US-MIDA-PJM`; None for a zone nobody knows."""
    row, _ = grid_row(zone.strip().upper(), factors)
    return row


def _region(
    site: Site, provider: str, factors: FactorSet, told: list[str], warned: list[str]
) -> Region | None:
    """The region of a site; without a provider, the one region of that name in all clouds."""
    name = (site.region or "").strip().lower().replace(" ", "")
    if not name or name == FLEET:
        return None
    for spelling in (name, AVAILABILITY_ZONE.sub("", name)):
        if found := factors.regions.get((provider, spelling)):
            return found
        namesakes = _regions_by_name(factors).get(spelling, ())
        if not provider and len(namesakes) == 1:
            told.append(f"Provider not given: {namesakes[0].provider}, which alone has a region {spelling}.")
            return namesakes[0]
        if not provider and namesakes:
            warned.append("ambiguous_region: several providers have a region of this name; name one.")
            return None
    if provider not in ON_PREMISES and not site.zone:
        warned.append(
            "unknown_region: no factors for this region; the provider's or the industry's are used."
        )
    return None


@lru_cache(maxsize=8)
def _regions_by_name(factors: FactorSet) -> Mapping[str, tuple[Region, ...]]:
    named: dict[str, tuple[Region, ...]] = {}
    for region in factors.regions.values():
        if region.region != FLEET:
            named[region.region] = (*named.get(region.region, ()), region)
    return named


def _market(site: Site, region: Region | None, factors: FactorSet) -> Known | None:
    """The intensity by contracts, where the operator gives one."""
    value, source = site.market_carbon_intensity_g_per_kwh, site.market_carbon_intensity_source
    id_ = "market.site.gco2e"
    if value is None and region is not None and region.market_gco2e_per_kwh is not None:
        value, source = region.market_gco2e_per_kwh, factors.source_title(region.market_source or "")
        id_ = f"market.{region.provider}.{region.region}.gco2e"
    if value is None:
        return None
    use = FactorUse(id_, value, "gCO2e per kWh", source or "given by the operator")
    return Known(use, spread(factors, "grid_known"))


def _pue(site: Site, provider: str, region: Region | None, factors: FactorSet, told: list[str]) -> Known:
    unit = "facility Wh per IT Wh"
    if site.pue is not None:
        return Known(
            FactorUse("pue.site", site.pue, unit, "given by the operator"), spread(factors, "pue_known")
        )
    if region is not None:
        fleet = region.pue_basis == "fleet"
        if fleet:
            told.append(f"PUE of the site not known: {region.pue:g}, a value for all of {region.provider}.")
        use = FactorUse(
            f"pue.{region.provider}.{region.region}",
            region.pue,
            unit,
            factors.source_title(region.pue_source),
            region.pue_year,
            region.note or ("fleet value" if fleet else None),
        )
        return Known(use, spread(factors, "pue_unknown" if fleet else "pue_known"))
    constant = "pue.unknown_self" if provider in ON_PREMISES else "pue.unknown_cloud"
    use = factors.constant_uses[constant]
    told.append(f"PUE not known: {use.value:g}, an industry average.")
    return Known(use, spread(factors, "pue_unknown"))


def _wue(site: Site, region: Region | None, factors: FactorSet, told: list[str]) -> tuple[Known, str]:
    unit = "L per IT kWh"
    if site.wue_l_per_kwh is not None:
        use = FactorUse("wue.site", site.wue_l_per_kwh, unit, "given by the operator")
        return Known(use, spread(factors, "wue_known")), "consumption"
    if region is not None:
        fleet = region.wue_basis == "fleet"
        if fleet:
            told.append(
                f"WUE of the site not known: {region.wue_l_per_kwh:g}, a value for all of {region.provider}."
            )
        use = FactorUse(
            f"wue.{region.provider}.{region.region}",
            region.wue_l_per_kwh,
            unit,
            factors.source_title(region.wue_source),
            region.wue_year,
            f"{region.wue_water}{', fleet value' if fleet else ''}",
        )
        return Known(use, spread(factors, "wue_unknown" if fleet else "wue_known")), region.wue_water
    use = factors.constant_uses["wue.unknown"]
    told.append(f"WUE not known: {use.value:g} L/kWh, an industry average.")
    return Known(use, spread(factors, "wue_unknown")), "unstated"
