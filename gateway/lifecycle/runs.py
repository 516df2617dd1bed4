"""Runs: routes of a plan that follow each other and count against the same budgets.

A hold is made against the budgets of one run, so the request stays in the run that was admitted, failovers
too. Where no budget tells deployments apart, a plan is one run. Pure. Refuses to know amounts used and the
ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from gateway.budgets.matching import counters_for

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from gateway.budgets.counter import Counter
    from gateway.budgets.matching import MatchedBudget
    from gateway.budgets.policy import PolicySet
    from gateway.lifecycle.ladder import Rung
    from gateway.lifecycle.plan import Plan


@dataclass(frozen=True, slots=True)
class Run:
    """The form with a plan that has the routes of this run only, and the budgets that must agree to them."""

    form: Rung
    matched: list[MatchedBudget]

    @property
    def counters(self) -> list[Counter]:
        return [match.counter for match in self.matched]

    @property
    def ids(self) -> tuple[str, ...]:
        """What tells its budgets from those of another run."""
        return tuple(match.counter.id for match in self.matched)


def runs_of(form: Rung, policies: PolicySet, now: datetime) -> list[Run]:
    """The runs of a form in the order of its routes, with the counters that budgets have at `now`."""
    plan = form.plan
    if not policies.by_deployment:
        return [Run(form, budgets_at("", plan, policies, now))]
    alone = [Run(form, budgets_at(route.deployment.id, plan, policies, now)) for route in plan.routes]
    first, found, start = form.first or plan.routes[0].deployment.id, [], 0
    for _, same in groupby(alone, key=lambda run: run.ids):
        run = [*same]
        routes = plan.routes[start : start + len(run)]
        start += len(run)
        whole = len(run) == len(alone)
        part = form if whole else replace(form, plan=plan.ordered(routes, plan.ranking), first=first)
        found.append(Run(part, run[0].matched))
    return found


def budgets_at(deployment: str, plan: Plan, policies: PolicySet, now: datetime) -> list[MatchedBudget]:
    """The budgets that a planned request counts against at one deployment."""
    request = plan.request
    return counters_for(
        policies, plan.subject, model=request.model, route=request.route, deployment=deployment, now=now
    )


def concerned(runs: Iterable[Run], policies: PolicySet) -> list[MatchedBudget]:
    """The budgets that have a say in some run, each once, in the order of the policies."""
    found: dict[str, MatchedBudget] = {}
    for run in runs:
        for match in run.matched:
            found.setdefault(match.budget.name, match)
    return [found[budget.name] for budget in policies.budgets if budget.name in found]
