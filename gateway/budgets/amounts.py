"""What a budget counts, as the integers that the ledger keeps.

Energy in microwatt-hours, water in microlitres, carbon in micrograms CO2e, images as a plain count. Holds
round up, charges round half to even; both happen here and nowhere else. A single request may not ask for
more than 2**40 of any of them, and no stored value may pass 2**53 - 1 (Lua numbers are doubles).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.footprint.quantities import Footprint, Range

MICRO = 1_000_000
MAX_STORED = 2**53 - 1
MAX_REQUEST = 2**40

Bound = Literal["central", "high"]


class Dimension(StrEnum):
    """A budgeted quantity. The order of the members is the order of amounts in the ledger's scripts."""

    ENERGY = "energy"
    WATER = "water"
    CARBON = "carbon"
    IMAGES = "images"

    @property
    def unit(self) -> str:
        """The unit in which people read it: Wh, mL, g or images."""
        return {"energy": "Wh", "water": "mL", "carbon": "g", "images": "images"}[self.value]

    @property
    def field(self) -> str:
        """The name of the field that carries it in answers."""
        fields = {"energy": "energy_wh", "water": "water_ml", "carbon": "carbon_g", "images": "images"}
        return fields[self.value]

    @property
    def scale(self) -> int:
        """Ledger integers per unit."""
        return {"energy": MICRO, "water": 1000, "carbon": MICRO, "images": 1}[self.value]

    def shown(self, amount: int) -> float:
        """A ledger integer as a number in `unit`."""
        return amount / self.scale


@dataclass(frozen=True, slots=True)
class Amounts:
    """One amount per dimension, in ledger integers."""

    energy_uwh: int
    water_ul: int
    carbon_ug: int
    images: int

    def vector(self) -> tuple[int, int, int, int]:
        """The amounts in the order of `Dimension`."""
        return (self.energy_uwh, self.water_ul, self.carbon_ug, self.images)

    def at_least(self, other: Amounts) -> Amounts:
        """The larger of the two, dimension by dimension."""
        return Amounts(*(max(a, b) for a, b in zip(self.vector(), other.vector(), strict=True)))


@dataclass(frozen=True, slots=True)
class Charge:
    """What one request takes from budgets, by the bound that each of them counts."""

    central: Amounts
    high: Amounts

    def of(self, bound: Bound) -> Amounts:
        return self.high if bound == "high" else self.central

    def at_least(self, other: Charge) -> Charge:
        return Charge(self.central.at_least(other.central), self.high.at_least(other.high))


NOTHING = Charge(Amounts(0, 0, 0, 0), Amounts(0, 0, 0, 0))


def to_hold(footprint: Footprint) -> Charge:
    """The charge of a footprint, rounded up: what is held before the work."""
    return _charge(footprint, math.ceil)


def to_settle(footprint: Footprint) -> Charge:
    """The charge of a footprint, rounded half to even: what is posted after the work."""
    return _charge(footprint, round)


def _charge(footprint: Footprint, rounded: Callable[[float], int]) -> Charge:
    def amounts(bound: Bound) -> Amounts:
        def integer(quantity: Range, dimension: Dimension) -> int:
            return rounded(getattr(quantity, bound) * dimension.scale)

        return Amounts(
            energy_uwh=integer(footprint.energy_wh, Dimension.ENERGY),
            water_ul=integer(footprint.water_ml, Dimension.WATER),
            carbon_ug=integer(footprint.carbon_g, Dimension.CARBON),
            images=footprint.images,
        )

    return Charge(central=amounts("central"), high=amounts("high"))
