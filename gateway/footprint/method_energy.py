"""What a method says about the energy of a request: an amount at one level, its spread and its reasons.

Shared by the methods. Refuses to compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateway.footprint.bands import Spread, combine
from gateway.footprint.known import spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.footprint.catalogue import Found
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.hardware import GpuFit
    from gateway.footprint.quantities import FactorUse, Method


@dataclass(frozen=True, slots=True)
class MethodEnergy:
    """Energy (Wh) of the whole request at one level, and how it was found.

    `inputs` are the numbers that `formula` was computed from, by their names in it. `gpu_seconds` is measured
    or published GPU time; None leaves it to be derived from energy and power.
    """

    method: Method
    level: Literal["gpu", "it", "facility"]
    wh: float
    spread: Spread
    formula: str
    inputs: Mapping[str, float]
    gpu: GpuFit
    gpu_seconds: float | None = None
    uses: tuple[FactorUse, ...] = ()
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def spread_of(terms: Iterable[str], factors: FactorSet) -> Spread:
    """The combined spread of named terms."""
    return combine(*(spread(factors, term) for term in terms))


def warnings_for(found: Found, terms: Iterable[str]) -> tuple[str, ...]:
    """What makes a result weaker than usual: `code: sentence`. Never repeats what the client wrote."""
    warnings = []
    if found.unknown:
        warnings.append("unknown_model: no factors for this model; a conservative proxy band is used.")
    elif found.guessed:
        warnings.append(f"guessed_model: recognised by a part of its name as {found.model.id}.")
    if found.model.caution:
        warnings.append(f"uncertain_model: {found.model.caution}")
    if "few_step" in terms:
        warnings.append("few_step_model: extrapolated; models of few steps have no clean public measurement.")
    if "gpu_extrapolated" in terms:
        warnings.append("gpu_extrapolated: no public image measurement on this GPU.")
    return tuple(warnings)
