"""What the ledger would say to a request, by balances that were just read: for dry runs, and while it waits.

The same comparison as `lua/reserve.lua`, without its atomicity, so nothing may be admitted by it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.budgets.amounts import Dimension
from gateway.budgets.counter import Shortfall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.budgets.amounts import Charge
    from gateway.budgets.holds import Balance


def first_that_fits(candidates: Sequence[Charge], balances: Sequence[Balance]) -> int | list[Shortfall]:
    """The index of the first candidate that fits every counter, or every reason why none does."""
    shortfalls: list[Shortfall] = []
    for number, charge in enumerate(candidates):
        reasons = [
            row
            for balance in balances
            if balance.counter.enforced
            for row in missing(number, charge, balance)
        ]
        if not reasons:
            return number
        shortfalls += reasons
    return shortfalls


def ever_fits(candidates: Sequence[Charge], balances: Sequence[Balance]) -> bool:
    """Whether a candidate would fit once all that others hold was given back."""
    nothing = dict.fromkeys(Dimension, 0)
    alone = [replace(balance, held=nothing) for balance in balances]
    return isinstance(first_that_fits(candidates, alone), int)


def missing(number: int, charge: Charge, balance: Balance) -> list[Shortfall]:
    """Why a candidate does not fit one counter, enforced or not; nothing where it does."""
    limits = balance.counter.limits
    requested = charge.of(balance.counter.bound).known()
    return [
        Shortfall(
            candidate=number,
            counter=balance.counter,
            bucket=balance.bucket,
            dimension=dimension,
            limit=limits[dimension],
            used=balance.used[dimension],
            held=balance.held[dimension],
            requested=amount,
            resets_ms=balance.counter.until(balance.bucket)
            if amount is None
            else balance.frees_at(dimension, balance.used[dimension] + amount - limits[dimension]),
        )
        for dimension in Dimension
        if dimension in limits
        and ((amount := requested.get(dimension)) is None or _over(balance, dimension, amount))
    ]


def _over(balance: Balance, dimension: Dimension, amount: int) -> bool:
    taken = balance.used[dimension] + balance.held[dimension]
    return amount > 0 and taken + amount > balance.counter.limits[dimension]
