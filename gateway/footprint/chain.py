"""From the energy of a request to its water, carbon and minerals: the numbers, before they are shown.

    E_IT          = E_GPU * k_IT              E_facility    = E_IT * PUE
    water on site = E_IT * WUE                water off site = E_facility * EWIF
    carbon use    = E_facility * CI           carbon embodied = t_GPU * (server / 8 + GPU) / (life * use)

Starts at the level that the method sees and derives the other levels from it. Refuses to know models.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.footprint.bands import combine
from gateway.footprint.hardware import DEFAULT_GPU, power_use
from gateway.footprint.known import spread
from gateway.footprint.quantities import FactorUse

if TYPE_CHECKING:
    from gateway.footprint.bands import Spread
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.hardware import GpuFit
    from gateway.footprint.method_energy import MethodEnergy
    from gateway.footprint.places import Place

GPUS_PER_SERVER = 8
MG_PER_KG = 1e6
G_PER_KG = 1e3


@dataclass(frozen=True, slots=True)
class Levels:
    """Energy (Wh) of the whole request at the three levels, with the spread of each."""

    gpu_wh: float
    it_wh: float
    facility_wh: float
    gpu_spread: Spread
    it_spread: Spread
    facility_spread: Spread


@dataclass(frozen=True, slots=True)
class Machine:
    """What one GPU and its share of a server took to make, and the share of their life in a second."""

    carbon_kg: float
    adpe_kg: float
    share_per_s: float
    gpu_carbon: FactorUse
    gpu_adpe: FactorUse
    uses: tuple[FactorUse, ...]


def levels(energy: MethodEnergy, place: Place, factors: FactorSet) -> Levels:
    """Energy at GPU, IT and facility level, whichever of them the method saw."""
    k_it, k_spread = factors.constants["chain.k_it"].value, spread(factors, "k_it")
    pue = place.pue
    if energy.level == "gpu":
        it_wh, it_spread = energy.wh * k_it, combine(energy.spread, k_spread)
        return Levels(
            energy.wh,
            it_wh,
            it_wh * pue.value,
            energy.spread,
            it_spread,
            combine(it_spread, pue.spread),
        )
    other = combine(energy.spread, pue.spread)
    if energy.level == "it":
        it_wh, facility_wh, it_spread, facility_spread = (
            energy.wh,
            energy.wh * pue.value,
            energy.spread,
            other,
        )
    else:
        it_wh, facility_wh, it_spread, facility_spread = (
            energy.wh / pue.value,
            energy.wh,
            other,
            energy.spread,
        )
    return Levels(it_wh / k_it, it_wh, facility_wh, combine(it_spread, k_spread), it_spread, facility_spread)


def gpu_seconds(energy: MethodEnergy, gpu_wh: float) -> float:
    """Measured or published GPU time of the request, else energy over power."""
    return energy.gpu_seconds or gpu_wh * 3600 / energy.gpu.power_w


@lru_cache(maxsize=256)
def machine(fit: GpuFit, factors: FactorSet) -> Machine:
    """The machine that carries a GPU; the embodied values of an H100 where a card has none."""
    gpu, note = fit.gpu, None
    if gpu.embodied_kg is None:
        gpu, note = factors.gpus[DEFAULT_GPU], f"no published value for {fit.gpu.id}: that of {DEFAULT_GPU}"
    title, constants = factors.source_title(gpu.embodied_source or ""), factors.constants
    carbon_kg, adpe_kg = gpu.embodied_kg or 0.0, gpu.adpe_kg or 0.0
    names = ("server.embodied", "server.adpe", "server.lifetime", "server.utilisation")
    return Machine(
        carbon_kg=constants["server.embodied"].value / GPUS_PER_SERVER + carbon_kg,
        adpe_kg=constants["server.adpe"].value / GPUS_PER_SERVER + adpe_kg,
        share_per_s=1 / (constants["server.lifetime"].value * constants["server.utilisation"].value),
        gpu_carbon=FactorUse(
            f"gpu.{gpu.id}.embodied_kg", carbon_kg, "kgCO2e per card", title, gpu.year, note
        ),
        gpu_adpe=FactorUse(f"gpu.{gpu.id}.adpe_kg", adpe_kg, "kg Sb eq per card", title, gpu.year, note),
        uses=tuple(factors.constant_uses[name] for name in names),
    )


def chain_uses(energy: MethodEnergy, place: Place, factors: FactorSet) -> tuple[FactorUse, ...]:
    """The factors of the chain, in its order."""
    derived_time, made = energy.gpu_seconds is None, machine(energy.gpu, factors)
    return (
        *((factors.constant_uses["chain.k_it"],) if energy.level != "it" or derived_time else ()),
        place.pue.use,
        place.wue.use,
        place.ewif.use,
        place.intensity.use,
        *place.intensity.via,
        *((place.market.use,) if place.market else ()),
        *made.uses,
        *((power_use(energy.gpu, factors),) if derived_time else ()),
        made.gpu_carbon,
        made.gpu_adpe,
        place.adpe,
    )
