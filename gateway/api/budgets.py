"""The budgets that a caller may see, with their balances.

A budget has one counter for each scope that someone in the caller's reach has. Refuses to know how budgets
match and how counters are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from gateway.budgets.amounts import Dimension
from gateway.budgets.matching import counters_for, shown_scope, visible_to
from gateway.budgets.windows import moment
from gateway.errors import LedgerUnavailable, WindowMoved
from gateway.identity.subject import Role, Subject
from gateway.usage.periods import rfc3339
from gateway.usage.visibility import Visibility

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from gateway.budgets.holds import Balance
    from gateway.budgets.ledger import Ledger
    from gateway.budgets.matching import MatchedBudget
    from gateway.budgets.policy import PolicySet
    from gateway.identity.registry import KeyRegistry

WINDOW_TRIES = 3
ANYTHING = "*"


class WindowAnswer(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The stretch of time that a budget counts over, `start` included and `end` excluded.

    `every` is the length of a calendar or rolling window; fixed ones have none. `end` of a rolling window is
    when its oldest part leaves it.
    """

    kind: str
    every: str | None = None
    start: str
    end: str
    timezone: str


class BudgetItem(msgspec.Struct, kw_only=True):
    """One dimension of one budget for one scope; amounts in `unit`. `bound` is the estimate it counts.

    `raised` is added to `limit` for a while; `remaining` is what both leave. Where a window has charges whose
    cost nobody knows, `unpriced` counts them, and `used` and `remaining` of cost are null. What is
    `unlimited` is counted and refuses nothing: `limit` and `remaining` are null.
    """

    policy: str
    org: str
    scope: dict[str, str]
    window: WindowAnswer
    dimension: str
    unit: str
    limit: float | None
    unlimited: bool
    raised: float
    used: float | None
    held: float
    remaining: float | None
    bound: str
    mode: str
    unpriced: int


class BudgetsAnswer(msgspec.Struct):
    """The budgets whose amounts the caller may see."""

    data: list[BudgetItem]


async def subjects_in_reach(caller: Subject, keys: KeyRegistry) -> list[Subject]:
    """The caller, and for admins everyone with a live key whom they may see."""
    if caller.role not in {Role.PLATFORM_ADMIN, Role.ORG_ADMIN, Role.TEAM_ADMIN}:
        return [caller]
    visibility = Visibility.of(caller)
    others = await keys.subjects(visibility.org)
    return [caller, *(subject for subject in others if subject in visibility and subject != caller)]


async def budget_rows(
    policies: PolicySet,
    subjects: Iterable[Subject],
    caller: Subject,
    ledger: Ledger,
    now: datetime,
    *,
    offered: Mapping[str, Sequence[str]],
) -> list[BudgetItem]:
    """One row per dimension of every counter that the subjects have and the caller may see.

    `offered` are the names that clients may use for models, by deployment: a budget per model has one counter
    for each name, one per deployment one for each deployment. Raises `LedgerUnavailable`.
    """
    by_org: dict[str, list[Subject]] = {}
    for subject in subjects:
        by_org.setdefault(subject.org, []).append(subject)
    rows = []
    for org, members in sorted(by_org.items()):
        matched, balances = await _balances(policies, members, caller, ledger, org, now=now, offered=offered)
        for match, balance in zip(matched, balances, strict=True):
            rows += _rows(org, match, balance)
    return rows


async def _balances(
    policies: PolicySet,
    members: Sequence[Subject],
    caller: Subject,
    ledger: Ledger,
    org: str,
    *,
    now: datetime,
    offered: Mapping[str, Sequence[str]],
) -> tuple[list[MatchedBudget], list[Balance]]:
    """The counters of one org with their balances, in the windows of the store's clock."""
    for _ in range(WINDOW_TRIES):
        matched = _counters(policies, members, caller, now, offered)
        try:
            return matched, await ledger.balances(org, [match.counter for match in matched])
        except WindowMoved as moved:
            now = moment(moved.now_ms)
    msg = "the store's time is in no window of the budgets"
    raise LedgerUnavailable(msg)


def _counters(
    policies: PolicySet,
    members: Sequence[Subject],
    caller: Subject,
    now: datetime,
    offered: Mapping[str, Sequence[str]],
) -> list[MatchedBudget]:
    """Every counter that some request of a member would count against, in the order of the policies."""
    found: dict[str, MatchedBudget] = {}
    for subject in members:
        for model, deployment in _places(policies, offered):
            for route in _values(policies, "route", ()):
                for match in counters_for(
                    policies, subject, model=model, route=route, deployment=deployment, now=now
                ):
                    if visible_to(match.budget, match.counter.scope, caller):
                        found.setdefault(match.counter.id, match)
    order = {budget.name: number for number, budget in enumerate(policies.budgets)}
    return sorted(found.values(), key=lambda match: (order[match.budget.name], match.counter.id))


def _places(policies: PolicySet, offered: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """The models and deployments that make a difference to budgets, without pairs that are not offered."""
    names = {name for models in offered.values() for name in models}
    return [
        (model, deployment)
        for model in _values(policies, "model", sorted(names))
        for deployment in _values(policies, "deployment", sorted(offered))
        if model not in names or model in offered.get(deployment, names)
    ]


def _values(policies: PolicySet, attribute: str, known: Sequence[str]) -> list[str]:
    """The values of a request's attribute that make a difference to budgets; any one will do if none does."""
    involved = [budget for budget in policies.budgets if attribute in (*budget.match, *budget.per)]
    named = {value for budget in involved for value in budget.match.get(attribute, ())} - {ANYTHING}
    return sorted(named | set(known if involved else ())) or [""]


def _rows(org: str, match: MatchedBudget, balance: Balance) -> list[BudgetItem]:
    budget, zone = match.budget, ZoneInfo(match.budget.timezone)
    window = WindowAnswer(
        kind=budget.window.kind,
        every=budget.window.every,
        start=rfc3339(balance.counter.window(balance.bucket).start_ms, zone),
        end=rfc3339(balance.bucket.end_ms, zone),
        timezone=budget.timezone,
    )

    def row(dimension: Dimension, limit: int | None) -> BudgetItem:
        lacks = balance.unpriced if dimension is Dimension.COST else 0
        used, held = balance.used[dimension], balance.held[dimension]
        left = None if limit is None or lacks else dimension.shown(max(0, limit - used - held))
        declared = None if limit is None else budget.limits[dimension]
        return BudgetItem(
            policy=budget.name,
            org=org,
            scope=shown_scope(match.counter.scope),
            window=window,
            dimension=dimension.value,
            unit=dimension.unit,
            limit=None if declared is None else dimension.shown(declared),
            unlimited=limit is None,
            raised=dimension.shown((limit or 0) - (declared or 0)),
            used=None if lacks else dimension.shown(used),
            held=dimension.shown(held),
            remaining=left,
            bound=budget.bound,
            mode=budget.mode,
            unpriced=lacks,
        )

    limits: dict[Dimension, int | None] = dict.fromkeys(budget.unlimited) | dict(match.counter.limits)
    return [row(dimension, limits[dimension]) for dimension in Dimension if dimension in limits]
