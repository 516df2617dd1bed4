"""Which budgets a request counts against, and who may see their amounts.

Pure. A subject that lacks an attribute named in `per` is never left uncounted: all such subjects share one
counter, whose scope holds an empty value. Refuses to know amounts and the ledger.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.budgets.amounts import Dimension
from gateway.budgets.counter import Counter
from gateway.budgets.policy_file import ANYTHING
from gateway.budgets.raises import limits_with
from gateway.budgets.windows import current_and_next
from gateway.identity.subject import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from gateway.budgets.counter import Bucket
    from gateway.budgets.policy import Budget, PolicySet
    from gateway.budgets.windows import Window
    from gateway.identity.subject import Subject

    Buckets = Callable[[Window, str, datetime], tuple[Bucket, Bucket] | None]

NOBODY = ""
_WHOSE = ("team", "user", "key")


@dataclass(frozen=True, slots=True)
class MatchedBudget:
    """A budget that a request counts against, and the counter of the request's scope."""

    budget: Budget
    counter: Counter


def counters_for(
    policies: PolicySet,
    subject: Subject,
    *,
    model: str,
    route: str,
    deployment: str,
    now: datetime,
    buckets: Buckets = current_and_next,
) -> list[MatchedBudget]:
    """The counters of a request, in the order of the policies; a budget counts only during its window.

    `model` is the name that the client uses, `route` a value of `policy_file.ROUTES`, `deployment` the id of
    the one that is asked (any text where that matters to no budget), `now` is aware.
    `buckets` gives the windows of a moment, for who asks about many of them.
    """
    attributes = _attributes(subject) | {"model": model, "route": route, "deployment": deployment}
    matched = _matched(policies.budgets, attributes)
    windows = {(budget.window, budget.timezone) for budget in matched}
    found = {(window, zone): buckets(window, zone, now) for window, zone in windows}
    return [
        MatchedBudget(budget, _raised(policies, subject.org, _counter(budget, attributes, *both), now))
        for budget in matched
        if (both := found[budget.window, budget.timezone]) is not None
    ]


def limits_cost(
    policies: PolicySet, subject: Subject, *, model: str, route: str, deployment: str, now: datetime
) -> bool:
    """Whether an enforced budget limits what the request costs, so that its cost must be known.

    Arguments are those of `counters_for`. A raise changes a limit and never makes one.
    """
    limiting = [one for one in policies.budgets if one.mode == "enforce" and Dimension.COST in one.limits]
    attributes = _attributes(subject) | {"model": model, "route": route, "deployment": deployment}
    return any(
        current_and_next(budget.window, budget.timezone, now) is not None
        for budget in _matched(limiting, attributes)
    )


def counter_id(budget: str, scope: Mapping[str, str]) -> str:
    """The name of a counter in the ledger and in the journal."""
    return f"{budget}|{json.dumps(scope, sort_keys=True, separators=(',', ':'), ensure_ascii=False)}"


def shown_scope(scope: Mapping[str, str]) -> dict[str, str]:
    """A scope as people read it: `(none)` stands for everyone without that attribute."""
    return {attribute: value or "(none)" for attribute, value in scope.items()}


def visible_to(budget: Budget, scope: Mapping[str, str], subject: Subject) -> bool:
    """Whether a subject may see the amounts of one counter of a budget.

    Organisation admins see all of theirs, team admins what belongs to their team, everyone what belongs to
    their own team as a whole, to their user or to their key. What belongs to nobody in particular, such as an
    organisation's total, is for organisation admins. A budget that matches one team belongs to that team.
    """
    if subject.role is Role.PLATFORM_ADMIN:
        return True
    belongs = _belongs(budget, scope)
    if belongs.get("org", subject.org) != subject.org:
        return False
    if subject.role is Role.ORG_ADMIN:
        return True
    if subject.role is Role.TEAM_ADMIN and subject.team and belongs.get("team") == subject.team:
        return True
    mine = _attributes(subject)
    named = [attribute for attribute in _WHOSE if attribute in belongs]
    return any(belongs[attribute] != NOBODY for attribute in named) and all(
        belongs[attribute] == mine.get(attribute, NOBODY) for attribute in named
    )


def _attributes(subject: Subject) -> dict[str, str]:
    """What is known of a subject; an attribute without a value is absent."""
    named = {"org": subject.org, "team": subject.team, "user": subject.user, "key": subject.key}
    labels = {f"label.{name}": value for name, value in subject.labels.items()}
    return {attribute: value for attribute, value in (named | labels).items() if value}


def _matched(budgets: Iterable[Budget], attributes: Mapping[str, str]) -> list[Budget]:
    return [budget for budget in budgets if _matches(budget, attributes)]


def _matches(budget: Budget, attributes: Mapping[str, str]) -> bool:
    return all(
        attribute in attributes and (ANYTHING in accepted or attributes[attribute] in accepted)
        for attribute, accepted in budget.match.items()
    )


def _counter(budget: Budget, attributes: Mapping[str, str], current: Bucket, following: Bucket) -> Counter:
    scope = {attribute: attributes.get(attribute, NOBODY) for attribute in budget.per}
    return Counter(
        id=counter_id(budget.name, scope),
        budget=budget.name,
        scope=scope,
        bound=budget.bound,
        limits=budget.limits,
        current=current,
        next=following,
        enforced=budget.mode == "enforce",
        trail=budget.window.trail,
        alert_at=budget.warn_at if budget.alerts else None,
    )


def _raised(policies: PolicySet, org: str, counter: Counter, now: datetime) -> Counter:
    raises = policies.raised.get((org, counter.id), ())
    limits = limits_with(counter.limits, raises, int(now.timestamp() * 1000))
    return counter if limits is counter.limits else replace(counter, limits=limits)


def _belongs(budget: Budget, scope: Mapping[str, str]) -> dict[str, str]:
    """Whose a counter is: its scope, and what its budget admits one single value of."""
    single = {name: values[0] for name, values in budget.match.items() if len(values) == 1}
    return {name: value for name, value in single.items() if value != ANYTHING} | dict(scope)
