"""What would happen to a request, without sending, holding or charging anything.

Makes the same plan as a real request, so the hold that it shows is the hold that the ledger would take.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.budgets.refusal import refusal
from gateway.budgets.verdict import first_that_fits
from gateway.errors import LedgerUnavailable
from gateway.images.lighter import differences
from gateway.lifecycle.account import Account
from gateway.lifecycle.admission import in_window
from gateway.lifecycle.alternatives import Alternatives
from gateway.lifecycle.ask import Ask
from gateway.lifecycle.explanation import explained
from gateway.lifecycle.ladder import Rung, downgrade, reroute
from gateway.lifecycle.plan import hold_json
from gateway.lifecycle.runs import budgets_at, concerned, runs_of
from gateway.lifecycle.story import Story

if TYPE_CHECKING:
    from gateway.budgets.counter import Shortfall
    from gateway.budgets.holds import Balance
    from gateway.budgets.matching import MatchedBudget
    from gateway.budgets.policy import PolicySet
    from gateway.identity.subject import Subject
    from gateway.images.request import ImageRequest
    from gateway.lifecycle.plan import Plan
    from gateway.lifecycle.runs import Run
    from gateway.lifecycle.serve import Images


@dataclass(frozen=True, slots=True)
class Verdict:
    """What budgets would say at `now`: the index of the route in the run that has room, or all that is short
    in the run that would be asked first. `concerned` have a say in some run of the form."""

    run: Run
    balances: list[Balance]
    chosen: int | list[Shortfall]
    concerned: list[MatchedBudget]
    now: datetime


async def dry_run(
    images: Images, subject: Subject, request: ImageRequest, *, explain: bool, viewer: Subject | None = None
) -> dict[str, Any]:
    """The footprint, the route, the hold and the verdict that this very body would get now.

    Amounts are those that `viewer` may see, where that is not the subject.
    Raises the same errors as a real request for a malformed one, and `LedgerUnavailable`.
    """
    configuration = images.configuration()
    planner = partial(images.plan, configuration, subject)
    plan = planner(request)
    policies = configuration.policies
    verdict = await _asked(images, policies, Rung(plan, {}))
    look = Alternatives(images.ledger, configuration, planner, now=verdict.now)
    if not isinstance(verdict.chosen, int):
        other = await look.instead(plan, verdict.concerned)
        if other is not None:
            instead = await _asked(images, policies, other)
            verdict = instead if isinstance(instead.chosen, int) else verdict
    form, chosen = verdict.run.form, verdict.chosen
    shown = chosen if isinstance(chosen, int) else 0
    route = form.plan.routes[shown]
    answer: dict[str, Any] = {
        "footprint": route.footprint.as_json(explain=explain),
        "basis": "estimate",
        "hold": hold_json(form.plan.holds[shown]),
        "deployment": route.deployment.id,
        "zone": route.footprint.zone,
        "candidates": _candidates(form.plan, policies, verdict.now),
        "routing": form.plan.ranking.as_json(),
        **_verdict(form, request, chosen),
        "policies": [
            explained(match, balance, form.plan.holds[shown], viewer or subject)
            for match, balance in zip(verdict.run.matched, verdict.balances, strict=True)
        ],
    }
    if not isinstance(chosen, int):
        alternatives = await look.to(plan, chosen)
        error = refusal(
            chosen,
            verdict.run.matched,
            viewer or subject,
            now=datetime.now(UTC),
            alternatives=alternatives,
        )
        answer["refusal"] = {"status": error.status, **error.body()}
    return answer


def _candidates(plan: Plan, policies: PolicySet, now: datetime) -> list[dict[str, Any]]:
    """The candidates as they are ranked; with the budgets that count them where these differ."""
    shown = [ranked.as_json() for ranked in plan.ranking.routes]
    if policies.by_deployment:
        for one in shown:
            matched = budgets_at(one["deployment"], plan, policies, now)
            one["policies"] = [match.budget.name for match in matched]
    return shown


def _verdict(form: Rung, request: ImageRequest, chosen: int | list[Shortfall]) -> dict[str, Any]:
    """The decision that a real request would get, with what would be changed; `admit` where nothing is."""
    if not isinstance(chosen, int):
        return {"verdict": "deny"}
    changes = differences(request, form.plan.request)
    moved = reroute(form, chosen, changes)
    told: dict[str, Any] = {"reroute": moved} if moved else {}
    lighter = downgrade(form, changes)
    if lighter is not None:
        return {"verdict": "downgrade", "downgrade": lighter, **told}
    return {"verdict": "reroute" if moved else "admit", **told}


async def refuse_hopeless(images: Images, request_id: str, subject: Subject, least: ImageRequest) -> None:
    """Raises the refusal when not even `least`, the least that a request can ask for, would be admitted.

    Such a refusal is recorded like any other. Nothing is held: what is not refused here may be refused when
    it is known in full.
    """
    configuration = images.configuration()
    planner = partial(images.plan, configuration, subject)
    plan = planner(least)
    try:
        verdict = await _asked(images, configuration.policies, Rung(plan, {}))
    except LedgerUnavailable:
        if any(budget.emergency is not None for budget in configuration.policies.budgets):
            return  # it is decided when it is known in full
        raise
    rows, matched = verdict.chosen, verdict.run.matched
    if isinstance(rows, int):
        return
    look = Alternatives(images.ledger, configuration, planner, now=verdict.now)
    if await look.instead(plan, verdict.concerned) is not None:
        return
    error = refusal(rows, matched, subject, now=datetime.now(UTC))
    ask = Ask(request_id, subject, least, gone=asyncio.Event())
    story = Story(ask, plan, configuration.policies.version, matched=matched, exceeded=rows)
    account = Account(
        ask,
        plan,
        story,
        ledger=images.ledger,
        settlements=images.settlements,
        telemetry=images.telemetry,
    )
    await account.note_refusal(error, rows)
    raise error


async def _asked(images: Images, policies: PolicySet, form: Rung) -> Verdict:
    """What the ledger would say to one form, run by run, as when it is admitted."""

    async def at(now: datetime) -> Verdict:
        runs = runs_of(form, policies, now)
        all_of_them = concerned(runs, policies)
        refused: list[Verdict] = []
        for run in runs:
            balances = await images.ledger.balances(form.plan.subject.org, run.counters)
            chosen = first_that_fits(run.form.plan.holds, balances)
            verdict = Verdict(run, balances, chosen, all_of_them, now)
            if isinstance(chosen, int):
                return verdict
            refused.append(verdict)
        return refused[0]

    return await in_window(at)
