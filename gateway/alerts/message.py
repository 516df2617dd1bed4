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

    def time(epoch_ms: int) -> str:
        return moment(epoch_ms).astimezone(zone).isoformat(timespec="seconds")

    event, what = _event(alert.name)
    window = {"kind": budget.window.kind, "every": budget.window.every, "timezone": budget.timezone}
    start_ms, end_ms = _window_ms(alert, budget)
    message: dict[str, Any] = {
        "type": event,
        "timestamp": time(int(alert.at)),
        "data": {
            "policy": alert.budget,
            "org": org,
            "scope": shown_scope(alert.scope),
            "mode": budget.mode,
            "bound": budget.bound,
            "window": window | {"start": time(start_ms), "end": time(end_ms)},
            "dimension": dimension.value,
            "unit": dimension.unit,
            "limit": dimension.shown(int(alert.limit)),
            "used": dimension.shown(int(alert.used)),
            "held": dimension.shown(int(alert.held)),
            **what,
            "time": time(int(alert.at)),
            "note": NOTE,
        },
    }
    return msgspec.json.encode(message)


def _window_ms(alert: Alert, budget: Budget) -> tuple[int, int]:
    """What counted when it happened. An alert says when its bucket starts, and until when that counts."""
    starts_ms, trail = int(alert.starts), budget.window.trail
    width_ms = (int(alert.ends) - starts_ms) // (trail + 1)
    return starts_ms - trail * width_ms, starts_ms + width_ms


def _event(name: str) -> tuple[str, dict[str, str]]:
    if name in REFUSED:
        return "budget.refused", {"code": REFUSED[name]}
    if name == OVER:
        return "budget.over_limit", {"threshold": "100%"}
    return "budget.threshold", {"threshold": f"{name}%"}
