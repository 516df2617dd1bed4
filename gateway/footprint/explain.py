"""The chain of a footprint as steps: formula, numbers, result and the factors behind each.

Computed only when somebody asks, from the numbers that the estimate was made of. Computes nothing of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.footprint.bands import band
from gateway.footprint.quantities import Step

if TYPE_CHECKING:
    from gateway.footprint.chain import Levels, Machine
    from gateway.footprint.method_energy import MethodEnergy
    from gateway.footprint.places import Place
    from gateway.footprint.quantities import Footprint


def steps(
    footprint: Footprint,
    energy: MethodEnergy,
    place: Place,
    level: Levels,
    made: Machine,
    *,
    seconds: float,
) -> tuple[Step, ...]:
    """The steps of a footprint, in the order in which they were computed."""
    k_it = next((use for use in footprint.factors if use.id == "chain.k_it"), None)
    pue, facility = place.pue, level.facility_wh
    shown = [
        Step(
            energy.method,
            energy.formula,
            energy.inputs,
            band(energy.wh, energy.spread),
            "Wh",
            tuple(use.id for use in energy.uses),
        )
    ]
    if energy.level == "facility":
        shown.append(
            Step(
                "it_energy",
                "E_IT = E_facility / PUE",
                {"E_facility": facility, "PUE": pue.value},
                footprint.it_energy_wh,
                "Wh",
                (pue.use.id,),
            )
        )
    if footprint.gpu_energy_wh is not None and k_it is not None:
        numbers = {"E_IT": level.it_wh, "E_GPU": level.gpu_wh, "k_IT": k_it.value}
        name, formula, value = "it_energy", "E_IT = E_GPU * k_IT", footprint.it_energy_wh
        if energy.level == "facility":
            name, formula, value = "gpu_energy", "E_GPU = E_IT / k_IT", footprint.gpu_energy_wh
        numbers.pop("E_GPU" if energy.level == "facility" else "E_IT")
        shown.append(Step(name, formula, numbers, value, "Wh", (k_it.id,)))
    if energy.level != "facility":
        shown.append(
            Step(
                "energy",
                "E_facility = E_IT * PUE",
                {"E_IT": level.it_wh, "PUE": pue.value},
                footprint.energy_wh,
                "Wh",
                (pue.use.id,),
            )
        )
    shown += [
        Step(
            "water_onsite",
            "water_onsite = E_IT * WUE",
            {"E_IT": level.it_wh, "WUE": place.wue.value},
            footprint.water_onsite_ml,
            "mL",
            (place.wue.use.id,),
        ),
        Step(
            "water_offsite",
            "water_offsite = E_facility * EWIF",
            {"E_facility": facility, "EWIF": place.ewif.value},
            footprint.water_offsite_ml,
            "mL",
            (place.ewif.use.id,),
        ),
        Step(
            "carbon_use",
            "carbon_use = E_facility * CI / 1000",
            {"E_facility": facility, "CI": place.intensity.value},
            footprint.carbon_use_g,
            "gCO2e",
            (place.intensity.use.id, *(use.id for use in place.intensity.via)),
        ),
        *_market(footprint, facility, place),
        *_manufacture(footprint, facility, seconds, made, place),
    ]
    return tuple(shown)


def _market(footprint: Footprint, facility_wh: float, place: Place) -> list[Step]:
    if place.market is None or footprint.carbon_use_market_g is None:
        return []
    return [
        Step(
            "carbon_use_market",
            "carbon_use_market = E_facility * CI_market / 1000, beside and never within the other figures",
            {"E_facility": facility_wh, "CI_market": place.market.value},
            footprint.carbon_use_market_g,
            "gCO2e",
            (place.market.use.id,),
        )
    ]


def _manufacture(
    footprint: Footprint, facility_wh: float, seconds: float, made: Machine, place: Place
) -> list[Step]:
    if footprint.carbon_embodied_g is None or footprint.adpe_mg_sbeq is None:
        return []
    server_carbon, server_adpe, life, utilisation = made.uses
    spent = {"t_GPU": seconds, "life": life.value, "utilisation": utilisation.value}
    per_life = (life.id, utilisation.id)
    return [
        Step(
            "carbon_embodied",
            "carbon_embodied = 1000 * t_GPU * (server / 8 + GPU) / (life * utilisation)",
            {**spent, "server": server_carbon.value, "GPU": made.gpu_carbon.value},
            footprint.carbon_embodied_g,
            "gCO2e",
            (server_carbon.id, made.gpu_carbon.id, *per_life),
        ),
        Step(
            "adpe",
            "adpe = 1e6 * (E_facility / 1000 * ADPe + t_GPU * (server / 8 + GPU) / (life * utilisation))",
            {
                **spent,
                "E_facility": facility_wh,
                "ADPe": place.adpe.value,
                "server": server_adpe.value,
                "GPU": made.gpu_adpe.value,
            },
            footprint.adpe_mg_sbeq,
            "mg Sb eq",
            (place.adpe.id, server_adpe.id, made.gpu_adpe.id, *per_life),
        ),
    ]
