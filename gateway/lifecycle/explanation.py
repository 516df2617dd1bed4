"""What each budget says to one request: its window, its amounts, what the request asks of it, and why.

For dry runs. Amounts only for those who may see them; the verdict for everyone whose request it is. Refuses
to know how the request was planned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gateway.budgets.amounts import Dimension
from gateway.budgets.matching import shown_scope, visible_to
from gateway.budgets.refusal import code_of
from gateway.budgets.verdict import missing
from gateway.budgets.windows import moment

if TYPE_CHECKING:
    from gateway.budgets.amounts import Charge
    from gateway.budgets.counter import Shortfall
    from gateway.budgets.holds import Balance
    from gateway.budgets.matching import MatchedBudget
    from gateway.budgets.policy import Budget
    from gateway.identity.subject import Subject

WHY = {
    "eco_request_too_large": "the request alone is over the limit",
    "eco_budget_exceeded": "used and requested amounts are over the limit",
    "eco_budget_in_flight": "requests in progress hold the room",
}


def explained(match: MatchedBudget, balance: Balance, asked: Charge, viewer: Subject) -> dict[str, Any]:
    """One budget's line; `asked` is what would be held. A budget that only watches has a verdict, too."""
    budget, visible = match.budget, visible_to(match.budget, match.counter.scope, viewer)
    rows = missing(0, asked, balance)
    line: dict[str, Any] = {
        "policy": budget.name,
        "scope": shown_scope(match.counter.scope),
        "mode": budget.mode,
        "bound": budget.bound,
        "window": _window(budget, balance),
        "verdict": "deny" if rows else "admit",
        "because": [_because(row) for row in rows] or ["there is room in every dimension"],
    }
    if visible:
        line["limits"] = [
            _amounts(dimension, limit, match, balance, asked)
            for dimension, limit in match.counter.limits.items()
        ]
        line["remaining"] = {
            one["field"]: one["remaining"] for one in line["limits"] if one["remaining"] is not None
        }
        for one in line["limits"]:
            del one["field"]
    return line


def _window(budget: Budget, balance: Balance) -> dict[str, Any]:
    zone, counted = ZoneInfo(budget.timezone), balance.counter.window(balance.bucket)
    start, end = (
        moment(epoch_ms).astimezone(zone).isoformat(timespec="seconds")
        for epoch_ms in (counted.start_ms, counted.end_ms)
    )
    every = {"every": budget.window.every} if budget.window.every else {}
    return {"kind": budget.window.kind, **every, "start": start, "end": end, "timezone": budget.timezone}


def _because(row: Shortfall) -> str:
    if row.requested is None:
        return f"{row.dimension.value}: nobody knows what the request costs"
    return f"{row.dimension.value}: {WHY[code_of(row)]}"


def _amounts(
    dimension: Dimension, limit: int, match: MatchedBudget, balance: Balance, asked: Charge
) -> dict[str, Any]:
    used, held = balance.used[dimension], balance.held[dimension]
    requested = asked.of(match.counter.bound).known().get(dimension)
    known = dimension is not Dimension.COST or not balance.unpriced
    declared = match.budget.limits[dimension]
    return {
        "field": dimension.field,
        "dimension": dimension.value,
        "unit": dimension.unit,
        "limit": dimension.shown(declared),
        "raised": dimension.shown(limit - declared),
        "used": dimension.shown(used),
        "held": dimension.shown(held),
        "remaining": dimension.shown(max(0, limit - used - held)) if known else None,
        "requested": dimension.shown(requested) if requested is not None else None,
    }
