"""Life-cycle intensity of a mix of generation: for sources that publish megawatts per fuel.

Medians of IPCC AR5 WG3 annex III (2014) where it has one; oil and mixed sources from UNECE (2022) and the
estimates stated here. Production only: imports are not traced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

G_PER_KWH = {
    "coal": 820.0,
    "gas": 490.0,
    "oil": 650.0,
    "biomass": 230.0,
    "waste": 580.0,
    "nuclear": 12.0,
    "hydro": 24.0,
    "wind": 11.0,
    "solar": 45.0,
    "geothermal": 38.0,
    "other": 490.0,
}
"""`other` is taken as gas: nobody says what it is, and it is never clean by default."""


def intensity(mw: Mapping[str, float]) -> float | None:
    """g/kWh of a mix in MW per fuel; None when nothing is generated. Consumption (pumping) is left out."""
    produced = {fuel: value for fuel, value in mw.items() if value > 0}
    total = sum(produced.values())
    if not total:
        return None
    return sum(G_PER_KWH[fuel] * value for fuel, value in produced.items()) / total
