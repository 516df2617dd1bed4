"""What a budget allows while its store is down: a declared allowance, in equal shares for each process.

Pure. Invariant: no process passes more than its share per counter and window, so that all of them together
pass at most the limit that the policy declares. Refuses to know files and clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.budgets.amounts import Charge
    from gateway.budgets.counter import Counter
    from gateway.budgets.matching import MatchedBudget


def allowed(
    charge: Charge,
    matched: Sequence[MatchedBudget],
    *,
    seat: int,
    used: Callable[[Counter], Sequence[int]],
) -> bool:
    """Whether every budget that is enforced allows a request without its store, and there is one at least.

    `seat` numbers the processes from 1; `used` is what this one has passed on a counter in its window so far.
    """
    enforced = [match for match in matched if match.budget.mode == "enforce"]
    return bool(enforced) and all(_has_room(match, charge, seat, used) for match in enforced)


def _has_room(
    match: MatchedBudget, charge: Charge, seat: int, used: Callable[[Counter], Sequence[int]]
) -> bool:
    emergency = match.budget.emergency
    if emergency is None or seat > emergency.processes:
        return False
    requested = charge.of(match.counter.bound).known()
    before = dict(zip(requested, used(match.counter), strict=False))
    return all(
        dimension in requested and before[dimension] + requested[dimension] <= share
        for dimension, share in emergency.shares().items()
    )
