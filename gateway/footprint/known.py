"""A factor with the spread of its value. Refuses to know where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.footprint.bands import Spread

if TYPE_CHECKING:
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import FactorUse


@dataclass(frozen=True, slots=True)
class Known:
    """A factor with the spread of its value. `via` are the coefficients that it was derived with."""

    use: FactorUse
    spread: Spread
    via: tuple[FactorUse, ...] = ()

    @property
    def value(self) -> float:
        return self.use.value


@lru_cache(maxsize=1024)
def spread(factors: FactorSet, term: str) -> Spread:
    """A spread term of the factor set by its id."""
    entry = factors.spreads[term]
    return Spread(entry.up, entry.up if entry.down is None else entry.down)
