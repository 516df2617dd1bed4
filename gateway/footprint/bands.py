"""Uncertainty as standard deviations in natural logarithms, and the 90 % bands made of them.

Invariant: low <= central <= high. Terms that are independent add in squares; bands are never multiplied
end by end.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import NamedTuple

from gateway.footprint.quantities import Range

Z_90 = 1.645  # a normal distribution holds 90 % within this many standard deviations


class Spread(NamedTuple):
    """Standard deviation of the natural logarithm, upwards and downwards."""

    up: float = 0.0
    down: float = 0.0

    def scaled(self, share: float) -> Spread:
        return Spread(self.up * share, self.down * share)


def combine(*terms: Spread) -> Spread:
    """The spread of a product of independent quantities."""
    up = down = 0.0
    for term_up, term_down in terms:
        up += term_up * term_up
        down += term_down * term_down
    return Spread(sqrt(up), sqrt(down))


def band(central: float, spread: Spread) -> Range:
    """The 90 % band around a central estimate."""
    up, down = spread
    return Range(central * exp(-Z_90 * down), central, central * exp(Z_90 * up))


def total(energy: Spread, *parts: tuple[float, Spread]) -> Range:
    """The band of a sum whose parts share the spread of their energy and have one of their own each."""
    central = sum([value for value, _ in parts])
    own = [spread.scaled(value / central) for value, spread in parts] if central > 0 else []
    return band(central, combine(energy, *own))
