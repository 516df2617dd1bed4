"""Energy, water and carbon of an image request, from what is known of its work and its place.

Pure: no clock, no file, no network. Invariants: every central value is finite and positive except disclosed
zeros (a site without water cooling); low <= central <= high; every factor used is listed. The formulas are
in `methods` and `chain` and are explained in docs/methodology.md.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.footprint import explain
from gateway.footprint.bands import band, combine, total
from gateway.footprint.catalogue import resolve
from gateway.footprint.chain import G_PER_KG, MG_PER_KG, chain_uses, gpu_seconds, levels, machine
from gateway.footprint.known import spread
from gateway.footprint.methods import energy_of
from gateway.footprint.places import find_place
from gateway.footprint.quantities import Footprint

if TYPE_CHECKING:
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.method_energy import MethodEnergy
    from gateway.footprint.places import Place
    from gateway.footprint.quantities import ImageWork, Site, Step


def estimate(work: ImageWork, site: Site, factors: FactorSet) -> Footprint:
    """The footprint of all images of a request at a site; measured values in `work` make it a settled one.

    Never raises for an unknown model, GPU or zone: those get conservative factors, wide bounds and warnings.
    """
    return _estimate(work, site, factors)


@lru_cache(maxsize=2048)
def _estimate(work: ImageWork, site: Site, factors: FactorSet) -> Footprint:
    resolved = resolve(work, factors)
    place = find_place(site, factors)
    energy = energy_of(work, resolved, site, factors)
    told = resolved.assumptions if _asked(energy) else ()
    return footprint_of(energy, place, factors, images=max(1, work.n), assumptions=told)


def _asked(energy: MethodEnergy) -> bool:
    """Whether the result depends on what was asked: sizes and steps do not matter to a measurement."""
    return not any(use.id.startswith("measured.") for use in energy.uses)


def footprint_of(
    energy: MethodEnergy, place: Place, factors: FactorSet, *, images: int, assumptions: tuple[str, ...] = ()
) -> Footprint:
    """Everything that follows from an energy at a place."""
    level, made = levels(energy, place, factors), machine(energy.gpu, factors)
    seconds = gpu_seconds(energy, level.gpu_wh)
    common, embodied_own = level.facility_spread, spread(factors, "embodied")
    wue, ewif, carbon, market = place.wue, place.ewif, place.intensity, place.market
    onsite_ml, offsite_ml = level.it_wh * wue.value, level.facility_wh * ewif.value
    use_g = level.facility_wh * carbon.value / 1000
    embodied_g = seconds * made.carbon_kg * G_PER_KG * made.share_per_s
    adpe_use_mg = level.facility_wh / 1000 * place.adpe.value * MG_PER_KG
    adpe_embodied_mg = seconds * made.adpe_kg * MG_PER_KG * made.share_per_s

    def trace() -> tuple[Step, ...]:
        return explain.steps(footprint, energy, place, level, made, seconds=seconds)

    footprint = Footprint(
        energy_wh=band(level.facility_wh, common),
        water_ml=total(common, (onsite_ml, wue.spread), (offsite_ml, ewif.spread)),
        carbon_g=total(common, (use_g, carbon.spread), (embodied_g, embodied_own)),
        gpu_energy_wh=None if energy.level == "it" else band(level.gpu_wh, level.gpu_spread),
        it_energy_wh=band(level.it_wh, level.it_spread),
        water_onsite_ml=band(onsite_ml, combine(level.it_spread, wue.spread)),
        water_offsite_ml=band(offsite_ml, combine(common, ewif.spread)),
        carbon_use_g=band(use_g, combine(common, carbon.spread)),
        carbon_use_market_g=None
        if market is None
        else band(level.facility_wh * market.value / 1000, combine(common, market.spread)),
        carbon_embodied_g=band(embodied_g, combine(level.gpu_spread, embodied_own)),
        adpe_mg_sbeq=total(
            common, (adpe_use_mg, spread(factors, "adpe_grid")), (adpe_embodied_mg, embodied_own)
        ),
        images=images,
        method=energy.method,
        zone=place.zone,
        water_basis=place.water_basis,
        carbon_basis=place.carbon_basis,
        factor_set=factors.version,
        factors=(*energy.uses, *chain_uses(energy, place, factors)),
        assumptions=(*assumptions, *energy.assumptions, *place.assumptions),
        warnings=(*energy.warnings, *place.warnings),
        trace=trace,
    )
    return footprint
