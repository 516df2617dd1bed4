"""What is known about the place where work runs: PUE, WUE, carbon and water of its electricity.

Falls back from region to provider's fleet to industry, and from zone to country to world; each fallback
widens the band and is told. Refuses to know models and GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.footprint.bands import Spread
from gateway.footprint.quantities import FactorUse, Site

if TYPE_CHECKING:
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
COUNTRY_ALIASES = {"UK": "GB", "EL": "GR"}
WORLD = "WORLD"


@dataclass(frozen=True, slots=True)
class Known:
    """A factor with the spread of its value."""

    use: FactorUse
    spread: Spread

    @property
    def value(self) -> float:
        return self.use.value


@dataclass(frozen=True, slots=True)
class Place:
    """Everything the chain needs to know of a site. `zone` is None when nobody knows it."""

    zone: str | None
    pue: Known
    wue: Known
    intensity: Known
    ewif: Known
    adpe: FactorUse
    water_basis: str
    carbon_basis: str
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]


def find_place(site: Site, factors: FactorSet) -> Place:
    """The factors of a site; `site`'s own values win over disclosures."""
    return _find_place(replace(site, gpu=None, num_gpus=None, precision=None, batch=None), factors)


@lru_cache(maxsize=4096)
def _find_place(site: Site, factors: FactorSet) -> Place:
    told: list[str] = []
    warned: list[str] = []
    provider = (site.provider or "").strip().lower()
    provider = PROVIDERS.get(provider, provider)
    name = (site.region or "").strip().lower().replace(" ", "")
    region = factors.regions.get((provider, name))
    fleet = factors.regions.get((provider, "*"))
    pue = _pue(site, provider, region or fleet, factors, told)
    wue, onsite_basis = _wue(site, region or fleet, factors, told)
    zone = (site.zone or (region.zone if region else None) or "").strip().upper() or None
    if zone and not site.zone:
        told.append(f"Zone not given: {zone}, that of {provider} {name}.")
    row, exact = _grid_row(zone, factors)
    world = row is None
    if row is None:
        zone = None if not zone or zone == WORLD else zone
        row = factors.grid[WORLD]
        told.append("Electricity zone unknown: world averages for carbon and water.")
        warned.append("unknown_zone: carbon and water use world averages with wide bounds.")
    intensity, carbon_basis = _intensity(site, row, factors, exact=exact, told=told)
    ewif = _ewif(row, factors, told)
    return Place(
        zone=zone,
        pue=pue,
        wue=wue,
        intensity=intensity,
        ewif=ewif,
        adpe=factors.constant_uses["grid.adpe_world"],
        water_basis="consumption" if onsite_basis == "consumption" else "mixed",
        carbon_basis=carbon_basis
        if not world or site.carbon_intensity_g_per_kwh
        else f"{carbon_basis}, world",
        assumptions=tuple(told),
        warnings=tuple(warned),
    )


def zone_country(zone: str, factors: FactorSet) -> GridZone | None:
    """The country row of a zone: `FR`, `FRA`, `US-MIDA-PJM`; None for a zone nobody knows."""
    row, _ = _grid_row(zone.strip().upper(), factors)
    return row


def spread(factors: FactorSet, term: str) -> Spread:
    """A spread term of the factor set by its id."""
    entry = factors.spreads[term]
    return Spread(entry.up, entry.up if entry.down is None else entry.down)


def _grid_row(zone: str | None, factors: FactorSet) -> tuple[GridZone | None, bool]:
    """The zone's own row (True) or that of its country (False)."""
    if zone is None or zone == WORLD:
        return None, False
    if zone in factors.grid:
        return factors.grid[zone], True
    by_iso3 = {row.iso3: row for row in factors.grid.values() if row.iso3}
    if zone in by_iso3:
        return by_iso3[zone], True
    head, _, rest = zone.partition("-")
    head = COUNTRY_ALIASES.get(head, head)
    row = factors.grid.get(head) or by_iso3.get(head)
    return row, row is not None and not rest


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


def _intensity(
    site: Site, row: GridZone, factors: FactorSet, *, exact: bool, told: list[str]
) -> tuple[Known, str]:
    unit = "gCO2e per kWh"
    if site.carbon_intensity_g_per_kwh is not None and site.carbon_intensity_g_per_kwh > 0:
        source = site.carbon_intensity_source or "reading of the zone"
        use = FactorUse(
            f"grid.{site.zone or row.zone}.reading", site.carbon_intensity_g_per_kwh, unit, source
        )
        return Known(use, spread(factors, "grid_known")), "location-based, life-cycle, reading of the zone"
    use = factors.use(f"grid.{row.zone}.gco2e", row.gco2e_per_kwh, unit, row, row.stale)
    basis = f"location-based, life-cycle, yearly average {row.year}"
    if row.zone == WORLD:
        return Known(use, spread(factors, "grid_unknown")), basis
    if exact:
        return Known(use, spread(factors, "grid_known")), basis
    told.append(f"No yearly carbon value of the zone itself: that of {row.country}.")
    return Known(use, spread(factors, "grid_country")), f"{basis}, whole country"


def _ewif(row: GridZone, factors: FactorSet, told: list[str]) -> Known:
    unit = "L per facility kWh"
    name = "ewif_known" if row.zone != WORLD else "ewif_unknown"
    if row.ewif_l_per_kwh is None:
        told.append(f"No water factor for electricity in {row.country}: the world average.")
        row, name = factors.grid[WORLD], "ewif_unknown"
    use = FactorUse(
        f"grid.{row.zone}.ewif",
        row.ewif_l_per_kwh or 0.0,
        unit,
        factors.source_title(row.ewif_source or ""),
        row.ewif_year,
    )
    return Known(use, spread(factors, name))
