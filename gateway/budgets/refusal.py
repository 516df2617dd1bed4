"""What a client reads about its budgets: why a request was refused, and what the tightest budget has left.

Pure. A refusal names the budget that stands in the way whoever asks; its amounts only for those who may see
them. Amounts in answers are in the unit of their dimension. Figures in sentences are rounded so that what is
left never looks like enough: what is needed upwards, what is left downwards.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any, Literal, get_args
from zoneinfo import ZoneInfo

from gateway.budgets.amounts import Dimension
from gateway.budgets.matching import shown_scope, visible_to
from gateway.budgets.windows import moment
from gateway.errors import BudgetExceeded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gateway.budgets.counter import Shortfall
    from gateway.budgets.matching import MatchedBudget
    from gateway.budgets.policy import Budget
    from gateway.identity.subject import Subject

Code = Literal["eco_budget_in_flight", "eco_budget_exceeded", "eco_request_too_large", "eco_cost_unknown"]

IN_FLIGHT_RETRY_S = 5
SIGNIFICANT_DIGITS = 4
# From the refusal that passes by itself soonest to the one that never does.
_SEVERITY: tuple[Code, ...] = get_args(Code)


def refusal(
    shortfalls: Sequence[Shortfall],
    matched: Sequence[MatchedBudget],
    subject: Subject,
    *,
    now: datetime,
    alternatives: Sequence[Mapping[str, Any]] = (),
) -> BudgetExceeded:
    """The answer to a request that fits no candidate. `shortfalls` are all of the ledger's rows.

    Each candidate counts by its worst row, and the answer speaks of the candidate that has the best chance.
    """
    candidates: dict[int, list[Shortfall]] = {}
    for shortfall in shortfalls:
        candidates.setdefault(shortfall.candidate, []).append(shortfall)
    code, rows = min(
        map(_worst, candidates.values()), key=lambda worst: (_SEVERITY.index(worst[0]), _end(worst[1]))
    )
    budgets = {match.counter.id: match.budget for match in matched}
    leading = max(rows, key=lambda row: row.resets_ms)
    budget = budgets[leading.counter.id]
    answer = BudgetExceeded(
        message=_sentence(code, leading, budget, subject),
        code=code,
        status=429 if code == "eco_budget_in_flight" else 402,
        eco=_row(leading, budget, subject)
        | {
            "alternatives": list(alternatives),
            "violations": [
                {"candidate": row.candidate, "code": code_of(row)}
                | _row(row, budgets[row.counter.id], subject)
                for row in shortfalls
            ],
        },
    )
    if code == "eco_budget_in_flight":
        answer.headers["retry-after"] = str(IN_FLIGHT_RETRY_S)
    else:
        answer.headers["x-should-retry"] = "false"
    if code == "eco_budget_exceeded":
        left_s = (moment(_end(rows)) - now).total_seconds()
        answer.headers["retry-after"] = str(max(1, -int(-left_s // 1)))
    return answer


def tightest(
    matched: Sequence[MatchedBudget], available: Sequence[Mapping[Dimension, int]], subject: Subject
) -> str | None:
    """The value of `ecogate-budget-remaining`: the budget with the smallest share left, as `name;carbon=3.7`.

    `available` are the ledger integers that are left of each matched budget, in the same order. None where
    the caller may see no limited budget.
    """
    shares = [
        (
            left / limit if (limit := match.counter.limits[dimension]) else 0.0,
            match.budget.name,
            dimension,
            left,
        )
        for match, amounts in zip(matched, available, strict=True)
        if match.budget.mode != "shadow" and visible_to(match.budget, match.counter.scope, subject)
        for dimension, left in amounts.items()
        if dimension in match.counter.limits
    ]
    if not shares:
        return None
    _, name, dimension, left = min(shares, key=lambda share: share[0])
    return f"{name};{dimension}={_plain(_exact(dimension, max(0, left)))}"


def code_of(row: Shortfall) -> Code:
    """Which kind of refusal a row is."""
    if row.requested is None:
        return "eco_cost_unknown"
    if row.requested > row.limit:
        return "eco_request_too_large"
    if row.used + row.requested > row.limit:
        return "eco_budget_exceeded"
    return "eco_budget_in_flight"


def _worst(rows: list[Shortfall]) -> tuple[Code, list[Shortfall]]:
    code = max(map(code_of, rows), key=_SEVERITY.index)
    return code, [row for row in rows if code_of(row) == code]


def _end(rows: list[Shortfall]) -> int:
    return max(row.resets_ms for row in rows)


def _row(row: Shortfall, budget: Budget, subject: Subject) -> dict[str, Any]:
    amounts: dict[str, int | None] = {
        "limit": row.limit,
        "used": row.used,
        "held": row.held,
        "requested": row.requested,
        "remaining": _remaining(row),
    }
    window = row.counter.window(row.bucket)
    if not visible_to(budget, row.counter.scope, subject):
        amounts = {"requested": row.requested}
    return {
        "policy": budget.name,
        "scope": shown_scope(row.counter.scope),
        "dimension": row.dimension.value,
        "unit": row.dimension.unit,
        **{name: _number(row.dimension, amount) for name, amount in amounts.items() if amount is not None},
        "window": {
            "kind": budget.window.kind,
            **({"every": budget.window.every} if budget.window.every else {}),
            "start": _local(window.start_ms, budget),
            "end": _local(window.end_ms, budget),
            "timezone": budget.timezone,
        },
        "resets_at": _local(row.resets_ms, budget),
    }


def _sentence(code: Code, row: Shortfall, budget: Budget, subject: Subject) -> str:
    what, visible = row.dimension, visible_to(budget, row.counter.scope, subject)
    name = f"budget '{budget.name}'"
    if row.counter.scope and visible:
        scope = shown_scope(row.counter.scope)
        name += f" ({', '.join(f'{attribute} {value}' for attribute, value in scope.items())})"
    if row.requested is None:
        return f"{name[0].upper()}{name[1:]} limits cost, and what this request costs is not known."
    needs = f"This request needs {_needed(what, row.requested)}"
    limit = _amount(what, _plain(_exact(what, row.limit)))
    left = _figure(what, _remaining(row), up=False)
    held = _figure(what, row.held, up=True)
    reset = _local(row.resets_ms, budget)
    if code == "eco_request_too_large":
        whole = f"more than the {limit} that {name} allows" if visible else f"more than {name} allows"
        return f"{needs}, {whole} {f'per {budget.window.every}' if budget.window.every else 'in all'}."
    if code == "eco_budget_exceeded":
        less = f"has {left} left of {limit}" if visible else "has less left"
        return f"{needs}, and {name} {less} until {reset}."
    if visible:
        room = f"{name} has {left} free while requests in progress hold {held}"
    else:
        room = f"requests in progress hold what {name} has left"
    return f"{needs}, and {room}. Try again shortly."


def _remaining(row: Shortfall) -> int:
    return max(0, row.limit - row.used - row.held)


def _local(epoch_ms: int, budget: Budget) -> str:
    return moment(epoch_ms).astimezone(ZoneInfo(budget.timezone)).isoformat(timespec="seconds")


def _number(dimension: Dimension, amount: int) -> float | int:
    return amount if dimension.scale == 1 else dimension.shown(amount)


def _exact(dimension: Dimension, amount: int) -> Decimal:
    return Decimal(amount) / dimension.scale


def _figure(dimension: Dimension, amount: int, *, up: bool) -> str:
    """An amount with its unit, to four significant digits or to the whole unit, rounded one way."""
    exact = _exact(dimension, amount)
    decimals = max(0, SIGNIFICANT_DIGITS - 1 - exact.adjusted()) if exact else 0
    rounded = exact.quantize(Decimal(1).scaleb(-decimals), ROUND_CEILING if up else ROUND_FLOOR)
    return _amount(dimension, _plain(rounded))


def _needed(dimension: Dimension, amount: int) -> str:
    figure = _figure(dimension, amount, up=True)
    if dimension in (Dimension.IMAGES, Dimension.COST):
        return figure
    return f"an estimated {figure} of {dimension.value}"


def _amount(dimension: Dimension, figure: str) -> str:
    return "1 image" if (dimension is Dimension.IMAGES and figure == "1") else f"{figure} {dimension.unit}"


def _plain(number: Decimal) -> str:
    """A decimal without exponent and without zeros at its end."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
