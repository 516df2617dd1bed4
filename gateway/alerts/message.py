"""What the owner of a budget reads: one event as JSON, with units, window and what its figures are worth.

Pure. Refuses to know how it gets there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from gateway.budgets.alerts import EXCEEDED, TOO_LARGE
from gateway.budgets.counter import OVER
from gateway.budgets.matching import shown_scope
from gateway.budgets.windows import moment

if TYPE_CHECKING:
    from gateway.budgets.alerts import Alert
    from gateway.budgets.policy import Budget

NOTE = (
    "Amounts are estimates, made as docs/methodology.md says, of whole requests and by the budget's bound. "
    "'used' is settled; 'held' is what requests in progress may still take."
)
REFUSED = {EXCEEDED: "eco_budget_exceeded", TOO_LARGE: "eco_request_too_large"}


def body(alert: Alert, org: str, budget: Budget) -> bytes:
    """The body of the webhook: `type`, `timestamp` and `data`, as Standard Webhooks has them."""
    zone, dimension = ZoneInfo(budget.timezone), alert.dimension

    def time(epoch_ms: str) -> str:
        return moment(int(epoch_ms)).astimezone(zone).isoformat(timespec="seconds")

    event, what = _event(alert.name)
    window = {"kind": budget.window.kind, "every": budget.window.every, "timezone": budget.timezone}
    message: dict[str, Any] = {
        "type": event,
        "timestamp": time(alert.at),
        "data": {
            "policy": alert.budget,
            "org": org,
            "scope": shown_scope(alert.scope),
            "mode": budget.mode,
            "bound": budget.bound,
            "window": window | {"start": time(alert.starts), "end": time(alert.ends)},
            "dimension": dimension.value,
            "unit": dimension.unit,
            "limit": dimension.shown(int(alert.limit)),
            "used": dimension.shown(int(alert.used)),
            "held": dimension.shown(int(alert.held)),
            **what,
            "time": time(alert.at),
            "note": NOTE,
        },
    }
    return msgspec.json.encode(message)


def _event(name: str) -> tuple[str, dict[str, str]]:
    if name in REFUSED:
        return "budget.refused", {"code": REFUSED[name]}
    if name == OVER:
        return "budget.over_limit", {"threshold": "100%"}
    return "budget.threshold", {"threshold": f"{name}%"}
