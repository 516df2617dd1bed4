"""What a charged request avoided against other rules of choice, from its own record.

The record holds what the even spread and the best fixed choice would have caused for the work as it was
planned; this scales it to the work that was done. Negative where the choice made was the worse one, and where
failed attempts were charged. A comparison with a stated baseline, no claim about power plants. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from gateway.usage.record import Record

Baseline = Literal["even_spread", "best_fixed"]

UG_PER_G = 1_000_000


def avoided_ug(record: Record, baseline: Baseline, charged_ug: int) -> int | None:
    """Baseline less charge in ugCO2e; None where the record does not tell, 0 where nothing was charged."""
    if charged_ug == 0:
        return 0
    other = _number(record.routing, "instead", baseline, "carbon_g")
    done = _number(record.footprint, "carbon_g", "central")
    planned = next(
        (_number(one, "carbon_g") for one in record.candidates if one.get("deployment") == record.deployment),
        None,
    )
    if other is None or done is None or planned is None or planned <= 0:
        return None
    return round(done * other / planned * UG_PER_G) - charged_ug


def _number(found: Any, *path: str) -> float | None:
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, int | float) else None
