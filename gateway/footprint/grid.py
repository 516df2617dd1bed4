"""Carbon and water of electricity by zone: a zone's own value, else its country's, else the world's.

Every intensity leaves here as life-cycle, so that zones compare in one kind; each fallback widens the band
and is told. Refuses to know providers and buildings.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.footprint.known import Known, spread
from gateway.footprint.quantities import FactorUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.footprint.entries import GridZone
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import Site

COUNTRY_ALIASES = {"UK": "GB", "EL": "GR"}
WORLD = "WORLD"
DIRECT = "direct"


def grid_row(zone: str | None, factors: FactorSet) -> tuple[GridZone | None, bool]:
    """The zone's own row (True) or that of its country (False)."""
    if zone is None or zone == WORLD:
        return None, False
    if zone in factors.grid:
        return factors.grid[zone], True
    by_iso3 = _by_iso3(factors)
    if zone in by_iso3:
        return by_iso3[zone], True
    head, _, rest = zone.partition("-")
    head = COUNTRY_ALIASES.get(head, head)
    if row := factors.grid.get(head) or by_iso3.get(head):
        return row, not rest
    named = _by_name(factors).get(zone)
    return named, named is not None


@lru_cache(maxsize=8)
def _by_iso3(factors: FactorSet) -> Mapping[str, GridZone]:
    return {row.iso3: row for row in factors.grid.values() if row.iso3}


@lru_cache(maxsize=8)
def _by_name(factors: FactorSet) -> Mapping[str, GridZone]:
    return {row.country.upper(): row for row in factors.grid.values() if row.iso3}


def intensity(
    site: Site, row: GridZone, factors: FactorSet, *, exact: bool, told: list[str]
) -> tuple[Known, str]:
    """The life-cycle intensity at a site whose grid row is `row`, and its accounting basis in words."""
    unit = "gCO2e per kWh"
    if site.carbon_intensity_g_per_kwh is not None and site.carbon_intensity_g_per_kwh > 0:
        source = site.carbon_intensity_source or "reading of the zone"
        use = FactorUse(
            f"grid.{site.zone or row.zone}.reading", site.carbon_intensity_g_per_kwh, unit, source
        )
        return Known(use, spread(factors, "grid_known")), "location-based, life-cycle, reading of the zone"
    basis = f"location-based, life-cycle, yearly average {row.year}"
    if row.basis == DIRECT:
        told.append(f"Only direct emissions are published for {row.country}: made life-cycle by a ratio.")
        basis = f"location-based, life-cycle derived from direct, yearly average {row.year}"
    use, via = _lifecycle(row, factors)
    if row.zone == WORLD:
        return Known(use, spread(factors, "grid_unknown")), basis
    if exact:
        return Known(use, spread(factors, "grid_derived" if via else "grid_known"), via), basis
    told.append(f"No yearly carbon value of the zone itself: that of {row.country}.")
    return Known(use, spread(factors, "grid_country"), via), f"{basis}, whole country"


def _lifecycle(row: GridZone, factors: FactorSet) -> tuple[FactorUse, tuple[FactorUse, ...]]:
    """A row's intensity as life-cycle value, and the constants that made it one."""
    id_, unit, value = f"grid.{row.zone}.gco2e", "gCO2e per kWh", row.gco2e_per_kwh
    if row.basis != DIRECT:
        return factors.use(id_, value, unit, row, row.stale), ()
    names = ["grid.lifecycle_ratio", "grid.lifecycle_upstream"]
    if row.zone.startswith("US-"):
        names = ["grid.lifecycle_ratio_us"]
    via = tuple(factors.constant_uses[name] for name in names)
    rule = f"{value:g} direct x {via[0].value:g}" + "".join(f" + {use.value:g}" for use in via[1:])
    derived = value * via[0].value + sum(use.value for use in via[1:])
    note = "; ".join(part for part in (rule, row.note, row.stale) if part)
    return factors.use(id_, derived, unit, row, note), via


def ewif(row: GridZone, factors: FactorSet, told: list[str]) -> Known:
    """The water of a zone's electricity, else that of its country, else the world's."""
    unit = "L per facility kWh"
    if row.ewif_l_per_kwh is None:
        country = factors.grid.get(row.zone.partition("-")[0], row)
        if country is not row and country.ewif_l_per_kwh is not None:
            told.append(f"No water factor for electricity of the zone itself: that of {country.country}.")
            row = country
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
        "consumption",
    )
    return Known(use, spread(factors, name))
