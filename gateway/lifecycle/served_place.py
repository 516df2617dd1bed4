"""Where a request really ran, as the headers of its answer say.

A name that the bundled regions know moves the footprint there; any other one is recorded and changes nothing.
It comes too late to refuse anything, but not to say so.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.footprint.places import find_region
from gateway.lifecycle.plan import site
from gateway.routing.whereabouts import tags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import Site
    from gateway.routing.rank import Route

logger = logging.getLogger(__name__)

REGION_HEADERS = ("x-ms-region",)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")


@dataclass(frozen=True, slots=True)
class ServedPlace:
    """`told` is the service's own word for the region; `site` is where and on what the work ran there, or
    None where that is where it was expected, or a place that nobody knows. `outside` is set where the rules
    of residency do not accept it."""

    told: str
    zone: str | None
    planned_zone: str | None
    site: Site | None
    outside: bool = False

    def as_json(self) -> dict[str, str | None]:
        return {"region": self.told, "zone": self.zone, "planned_zone": self.planned_zone}

    def because(self) -> str:
        """A sentence for people."""
        if self.zone is None:
            return f"the service says that it ran in '{self.told}', a place without factors: not used"
        if self.site is None:
            return f"the service says that it ran in '{self.told}' ({self.zone}), as expected"
        planned = self.planned_zone or "an unknown zone"
        told = f"the service says that it ran in '{self.told}' ({self.zone}), not {planned}: settled there"
        return f"{told}; that is outside the residency rules" if self.outside else told


def served_place(
    route: Route, headers: Sequence[tuple[str, str]], factors: FactorSet, residency: Sequence[str] = ()
) -> ServedPlace | None:
    """What an answer says about its place; None where it says nothing that could be a place."""
    told = next((value.strip() for name, value in headers if name in REGION_HEADERS), None)
    if told is None or not NAME.fullmatch(told):
        return None
    deployment, planned = route.deployment, route.footprint.zone
    location = deployment.location
    region = find_region(location.provider, told, factors)
    if region is None or region.zone is None:
        return ServedPlace(told, None, planned, None)
    declared = find_region(location.provider, location.region or "", factors)
    same = planned is not None and (declared == region or _within(planned, region.zone))
    if same:
        return ServedPlace(told, planned, planned, None)
    # What the operator declared of the building is true of the place that was expected only.
    there = replace(
        site(deployment),
        provider=region.provider,
        region=region.region,
        zone=region.zone,
        pue=None,
        wue_l_per_kwh=None,
    )
    outside = bool(residency) and tags(region.zone, factors).isdisjoint(residency)
    if outside:
        logger.error("deployment %s answered from %s, outside the residency rules", deployment.id, told)
    return ServedPlace(told, region.zone, planned, there, outside)


def _within(zone: str, wider: str) -> bool:
    return zone == wider or zone.startswith(f"{wider}-")
