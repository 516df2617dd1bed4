"""Energy, water and carbon of an image request, from what is known of its work and its place.

    E_IT          = E_GPU * k_IT              E_facility    = E_IT * PUE
    water on site = E_IT * WUE                water off site = E_facility * EWIF
    carbon use    = E_facility * CI           carbon embodied = t_GPU * (server / 8 + GPU) / (life * use)

Pure: no clock, no file, no network. Invariants: every central value is finite and positive except disclosed
zeros (a site without water cooling); low <= central <= high; every factor used is listed. The formulas are
explained in docs/methodology.md.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.footprint.bands import band, combine, total
from gateway.footprint.catalogue import resolve
from gateway.footprint.hardware import DEFAULT_GPU, power_use
from gateway.footprint.methods import energy_of
from gateway.footprint.places import find_place, spread
from gateway.footprint.quantities import FactorUse, Footprint, Step

if TYPE_CHECKING:
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.hardware import GpuFit
    from gateway.footprint.method_energy import MethodEnergy
    from gateway.footprint.places import Place
    from gateway.footprint.quantities import ImageWork, Site

GPUS_PER_SERVER = 8
MG_PER_KG = 1e6
G_PER_KG = 1e3


def estimate(work: ImageWork, site: Site, factors: FactorSet) -> Footprint:
    """The footprint of all images of a request at a site; measured values in `work` make it a settled one.

    Never raises for an unknown model, GPU or zone: those get conservative factors, wide bounds and warnings.
    """
    resolved = resolve(work, factors)
    place = find_place(site, factors)
    energy = energy_of(work, resolved, site, factors)
    return _chain(work, energy, place, resolved.assumptions if _asked(energy) else (), factors)


def _asked(energy: MethodEnergy) -> bool:
    """Whether the result depends on what was asked: sizes and steps do not matter to a measurement."""
    return not any(use.id.startswith("measured.") for use in energy.uses)


def _chain(
    work: ImageWork, energy: MethodEnergy, place: Place, assumptions: tuple[str, ...], factors: FactorSet
) -> Footprint:
    k_it, k_spread = factors.constant_uses["chain.k_it"], spread(factors, "k_it")
    pue = place.pue
    if energy.level == "gpu":
        gpu_wh, it_wh = energy.wh, energy.wh * k_it.value
        facility_wh = it_wh * pue.value
        gpu_spread, it_spread = energy.spread, combine(energy.spread, k_spread)
        facility_spread = combine(it_spread, pue.spread)
    elif energy.level == "it":
        it_wh, facility_wh = energy.wh, energy.wh * pue.value
        gpu_wh = it_wh / k_it.value
        it_spread, facility_spread = energy.spread, combine(energy.spread, pue.spread)
        gpu_spread = combine(it_spread, k_spread)
    else:
        facility_wh, it_wh = energy.wh, energy.wh / pue.value
        gpu_wh = it_wh / k_it.value
        facility_spread, it_spread = energy.spread, combine(energy.spread, pue.spread)
        gpu_spread = combine(it_spread, k_spread)
    onsite_ml = it_wh * place.wue.value
    offsite_ml = facility_wh * place.ewif.value
    use_g = facility_wh * place.intensity.value / 1000
    derived_time = energy.gpu_seconds is None
    seconds = energy.gpu_seconds or gpu_wh * 3600 / energy.gpu.power_w
    share, (gpu_embodied, gpu_adpe) = _embodied_share(factors), _gpu_embodied(energy.gpu, factors)
    kg_per_gpu = factors.constants["server.embodied"].value / GPUS_PER_SERVER + gpu_embodied.value
    adpe_per_gpu = factors.constants["server.adpe"].value / GPUS_PER_SERVER + gpu_adpe.value
    embodied_g = seconds * kg_per_gpu * G_PER_KG * share
    adpe_use_mg = facility_wh / 1000 * place.adpe.value * MG_PER_KG
    adpe_embodied_mg = seconds * adpe_per_gpu * MG_PER_KG * share
    embodied_own = spread(factors, "embodied")
    common = facility_spread
    energy_range, it_range = band(facility_wh, facility_spread), band(it_wh, it_spread)
    onsite, offsite = (
        band(onsite_ml, combine(it_spread, place.wue.spread)),
        band(offsite_ml, combine(facility_spread, place.ewif.spread)),
    )
    use, embodied = (
        band(use_g, combine(facility_spread, place.intensity.spread)),
        band(embodied_g, combine(gpu_spread, embodied_own)),
    )
    water = total(common, (onsite_ml, place.wue.spread), (offsite_ml, place.ewif.spread))
    carbon = total(common, (use_g, place.intensity.spread), (embodied_g, embodied_own))
    adpe = total(common, (adpe_use_mg, spread(factors, "adpe_grid")), (adpe_embodied_mg, embodied_own))
    metered = energy.level == "it"
    chain_uses = (
        *((k_it,) if not metered or derived_time else ()),
        pue.use,
        place.wue.use,
        place.ewif.use,
        place.intensity.use,
        *_server_uses(factors),
        *((power_use(energy.gpu, factors),) if derived_time else ()),
        gpu_embodied,
        gpu_adpe,
        place.adpe,
    )
    gpu_range = None if metered else band(gpu_wh, gpu_spread)
    steps = [Step(energy.method, energy.formula, band(energy.wh, energy.spread), "Wh", _ids(energy.uses))]
    if gpu_range is not None and energy.level == "facility":
        steps.append(Step("it_energy", "E_IT = E_facility / PUE", it_range, "Wh", (pue.use.id,)))
        steps.append(Step("gpu_energy", "E_GPU = E_IT / k_IT", gpu_range, "Wh", (k_it.id,)))
    elif not metered:
        steps.append(Step("it_energy", "E_IT = E_GPU * k_IT", it_range, "Wh", (k_it.id,)))
    if energy.level != "facility":
        steps.append(Step("energy", "E_facility = E_IT * PUE", energy_range, "Wh", (pue.use.id,)))
    steps += [
        Step("water_onsite", "E_IT * WUE", onsite, "mL", (place.wue.use.id,)),
        Step("water_offsite", "E_facility * EWIF", offsite, "mL", (place.ewif.use.id,)),
        Step("carbon_use", "E_facility * CI / 1000", use, "gCO2e", (place.intensity.use.id,)),
        Step(
            "carbon_embodied",
            "t_GPU * (server / 8 + GPU) / (life * utilisation)",
            embodied,
            "gCO2e",
            ("server.embodied", "server.lifetime", "server.utilisation", gpu_embodied.id),
        ),
        Step(
            "adpe",
            "E_facility * ADPe + t_GPU * (server / 8 + GPU) / (life * utilisation)",
            adpe,
            "mg Sb eq",
            (place.adpe.id, "server.adpe", gpu_adpe.id),
        ),
    ]
    return Footprint(
        energy_wh=energy_range,
        water_ml=water,
        carbon_g=carbon,
        gpu_energy_wh=gpu_range,
        it_energy_wh=it_range,
        water_onsite_ml=onsite,
        water_offsite_ml=offsite,
        carbon_use_g=use,
        carbon_embodied_g=embodied,
        adpe_mg_sbeq=adpe,
        images=max(1, work.n),
        method=energy.method,
        zone=place.zone,
        water_basis=place.water_basis,
        carbon_basis=place.carbon_basis,
        factor_set=factors.version,
        factors=(*energy.uses, *chain_uses),
        steps=tuple(steps),
        assumptions=(*assumptions, *energy.assumptions, *place.assumptions),
        warnings=(*energy.warnings, *place.warnings),
    )


def _ids(uses: tuple[FactorUse, ...]) -> tuple[str, ...]:
    return tuple(use.id for use in uses)


@lru_cache(maxsize=8)
def _server_uses(factors: FactorSet) -> tuple[FactorUse, ...]:
    names = ("server.embodied", "server.adpe", "server.lifetime", "server.utilisation")
    return tuple(factors.constant_uses[name] for name in names)


@lru_cache(maxsize=8)
def _embodied_share(factors: FactorSet) -> float:
    """The share of a machine's life in one second of use, per s."""
    return 1 / (factors.constants["server.lifetime"].value * factors.constants["server.utilisation"].value)


@lru_cache(maxsize=256)
def _gpu_embodied(fit: GpuFit, factors: FactorSet) -> tuple[FactorUse, FactorUse]:
    """Embodied kgCO2e and kg Sb eq of a card; those of an H100 where a card has none."""
    gpu, note = fit.gpu, None
    if gpu.embodied_kg is None:
        gpu, note = factors.gpus[DEFAULT_GPU], f"no published value for {fit.gpu.id}: that of {DEFAULT_GPU}"
    title = factors.source_title(gpu.embodied_source or "")
    return (
        FactorUse(
            f"gpu.{gpu.id}.embodied_kg", gpu.embodied_kg or 0.0, "kgCO2e per card", title, gpu.year, note
        ),
        FactorUse(f"gpu.{gpu.id}.adpe_kg", gpu.adpe_kg or 0.0, "kg Sb eq per card", title, gpu.year, note),
    )
