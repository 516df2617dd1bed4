"""Where work is surely processed, and how careful to be where nobody can say.

A pin to a region says where; a data zone says which union or country; `global` and `unknown` say nothing,
and nothing is not a place that a residency rule accepts. An unknown place is ranked by its mix plus one
spread, so that not knowing never wins. Pure.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import pstdev
from typing import TYPE_CHECKING

from gateway.footprint.grid import WORLD
from gateway.footprint.places import zone_country

if TYPE_CHECKING:
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import Footprint
    from gateway.upstreams.deployments import Deployment
    from gateway.upstreams.rules import UnknownRegion

EU = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()  # noqa: SIM905
)
DATA_ZONES = frozenset({"eu", "us"})
WH_PER_KWH = 1000.0


def places(deployment: Deployment, zone: str | None, factors: FactorSet) -> frozenset[str]:
    """The residency tags that hold for sure: a country code and perhaps `eu`; nothing when not pinned."""
    location = deployment.location
    if location.pin == "datazone":
        name = (location.region or "").strip().lower()
        return frozenset({name}) if name in DATA_ZONES else frozenset()
    if location.pin != "region" or zone is None:
        return frozenset()
    return tags(zone, factors)


def tags(zone: str, factors: FactorSet) -> frozenset[str]:
    """The residency tags of an electricity zone: its country's code, and `eu` where that is in it."""
    country = zone_country(zone, factors)
    if country is None:
        return frozenset()
    code = country.zone.partition("-")[0]
    return frozenset({code.lower(), "eu"}) if code in EU else frozenset({code.lower()})


def caution(deployment: Deployment, zone: str | None) -> str | None:
    """Why the place of a deployment is not known, or None where it is."""
    pin = deployment.location.pin
    if pin == "global":
        return "it may run anywhere"
    if pin == "datazone":
        return "it may run anywhere in its data zone"
    return "its electricity zone is unknown" if zone is None else None


def careful_carbon_g(
    deployment: Deployment, footprint: Footprint, factors: FactorSet, unknown_region: UnknownRegion
) -> float:
    """Grams of CO2e to rank an unknown place by: at the mean of its mix, plus one spread if pessimistic."""
    mean, spread = _mix(_scope(deployment), factors)
    intensity = mean + spread if unknown_region == "pessimistic" else mean
    other = footprint.carbon_g.central - footprint.carbon_use_g.central
    return other + footprint.energy_wh.central / WH_PER_KWH * intensity


def _scope(deployment: Deployment) -> str:
    name = (deployment.location.region or "").strip().lower()
    return name if deployment.location.pin == "datazone" and name in DATA_ZONES else "world"


@lru_cache(maxsize=16)
def _mix(scope: str, factors: FactorSet) -> tuple[float, float]:
    """Mean and spread in g/kWh over the countries of a scope, each country counted once."""
    rows = {zone: row.gco2e_per_kwh for zone, row in factors.grid.items() if zone != WORLD}
    if scope == "world":
        return factors.grid[WORLD].gco2e_per_kwh, pstdev(rows.values())
    inside = [value for zone, value in rows.items() if (zone in EU if scope == "eu" else zone == "US")]
    return sum(inside) / len(inside), pstdev(inside)
