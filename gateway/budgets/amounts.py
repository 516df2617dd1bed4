"""What a budget counts, as the integers that the ledger keeps.

Energy in microwatt-hours, water in microlitres, carbon in micrograms CO2e, images as a plain count, cost in
micro-USD. Holds round up, charges round half to even; both happen here and nowhere else. A single request may
not ask for more than 2**40 of any of them, and no stored value may pass 2**53 - 1 (Lua numbers are doubles).

A cost that nobody knows is `None`, never 0. The ledger counts such charges beside the amounts (`unpriced`),
so that every sum of costs says how many of its parts it lacks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from fractions import Fraction

    from gateway.footprint.quantities import Footprint, Range

MICRO = 1_000_000
MAX_STORED = 2**53 - 1
MAX_REQUEST = 2**40

Bound = Literal["central", "high"]
BOUNDS: tuple[Bound, ...] = ("central", "high")


class Dimension(StrEnum):
    """A budgeted quantity. The order of the members is the order of amounts in the ledger's scripts."""

    ENERGY = "energy"
    WATER = "water"
    CARBON = "carbon"
    IMAGES = "images"
    COST = "cost"

    @property
    def unit(self) -> str:
        """The unit in which people read it: Wh, mL, g, images or USD."""
        return {"energy": "Wh", "water": "mL", "carbon": "g", "images": "images", "cost": "USD"}[self.value]

    @property
    def field(self) -> str:
        """The name of the field that carries it in answers."""
        return {
            "energy": "energy_wh",
            "water": "water_ml",
            "carbon": "carbon_g",
            "images": "images",
            "cost": "cost_usd",
        }[self.value]

    @property
    def scale(self) -> int:
        """Ledger integers per unit."""
        return {"energy": MICRO, "water": 1000, "carbon": MICRO, "images": 1, "cost": MICRO}[self.value]

    def shown(self, amount: int) -> float:
        """A ledger integer as a number in `unit`."""
        return amount / self.scale


Vector = tuple[int, int, int, int, int, int]
UNPRICED = "unpriced"
FIGURES = (*Dimension, UNPRICED)
"""What the ledger keeps of each counter, in its order: every dimension, and the charges of unknown cost."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """One amount per dimension, in ledger integers; a cost that is not known is None."""

    energy_uwh: int
    water_ul: int
    carbon_ug: int
    images: int
    cost_uusd: int | None = None

    @classmethod
    def of(cls, vector: Sequence[int]) -> Self:
        """The amounts of one request, from what `vector` gave."""
        energy, water, carbon, images, cost, unpriced = vector
        return cls(energy, water, carbon, images, None if unpriced else cost)

    def vector(self) -> Vector:
        """The amounts in the order of `FIGURES`."""
        cost, unpriced = (0, 1) if self.cost_uusd is None else (self.cost_uusd, 0)
        return (self.energy_uwh, self.water_ul, self.carbon_ug, self.images, cost, unpriced)

    def known(self) -> dict[Dimension, int]:
        """The amounts by dimension, without those that nobody knows."""
        pairs = zip(Dimension, self.vector(), strict=False)
        return {d: amount for d, amount in pairs if d is not Dimension.COST or self.cost_uusd is not None}

    def at_least(self, other: Amounts) -> Amounts:
        """The larger of the two, dimension by dimension; unknown where either is."""
        return Amounts.of([max(a, b) for a, b in zip(self.vector(), other.vector(), strict=True)])


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request takes from budgets, by the bound that each of them counts."""

    central: Amounts
    high: Amounts

    def of(self, bound: Bound) -> Amounts:
        return self.high if bound == "high" else self.central

    def at_least(self, other: Charge) -> Charge:
        return Charge(self.central.at_least(other.central), self.high.at_least(other.high))


NOTHING = Charge(Amounts(0, 0, 0, 0, 0), Amounts(0, 0, 0, 0, 0))


def to_hold(footprint: Footprint, cost_usd: Fraction | None) -> Charge:
    """The charge of a footprint and its cost, rounded up: what is held before the work."""
    return _charge(footprint, cost_usd, math.ceil)


def to_settle(footprint: Footprint, cost_usd: Fraction | None) -> Charge:
    """The charge of a footprint and its cost, rounded half to even: what is posted after the work."""
    return _charge(footprint, cost_usd, round)


def _charge(
    footprint: Footprint, cost_usd: Fraction | None, rounded: Callable[[float | Fraction], int]
) -> Charge:
    def amounts(bound: Bound) -> Amounts:
        def integer(quantity: Range, dimension: Dimension) -> int:
            return rounded(getattr(quantity, bound) * dimension.scale)

        return Amounts(
            energy_uwh=integer(footprint.energy_wh, Dimension.ENERGY),
            water_ul=integer(footprint.water_ml, Dimension.WATER),
            carbon_ug=integer(footprint.carbon_g, Dimension.CARBON),
            images=footprint.images,
            cost_uusd=None if cost_usd is None else rounded(cost_usd * MICRO),
        )

    return Charge(central=amounts("central"), high=amounts("high"))
