"""What would happen to a request, without sending, holding or charging anything.

Makes the same plan as a real request, so the hold that it shows is the hold that the ledger would take.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.budgets.refusal import refusal
from gateway.budgets.verdict import first_that_fits
from gateway.budgets.windows import moment
from gateway.errors import LedgerUnavailable, WindowMoved
from gateway.images.lighter import differences
from gateway.lifecycle.account import Account
from gateway.lifecycle.alternatives import Alternatives
from gateway.lifecycle.ask import Ask
from gateway.lifecycle.explanation import explained
from gateway.lifecycle.ladder import Rung, other_forms, reroute
from gateway.lifecycle.plan import budgets_for, hold_json
from gateway.lifecycle.story import Story

if TYPE_CHECKING:
    from gateway.budgets.counter import Shortfall
    from gateway.budgets.holds import Balance
    from gateway.budgets.matching import MatchedBudget
    from gateway.identity.subject import Subject
    from gateway.images.request import ImageRequest
    from gateway.lifecycle.plan import Configuration
    from gateway.lifecycle.serve import Images

WINDOW_TRIES = 3


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
    matched, balances, now = await _balances(images, configuration, subject, request)
    refused = first_that_fits(plan.holds, balances)
    look = Alternatives(images.ledger, configuration, planner, now=now)
    form, chosen = Rung(plan, {}), refused
    if not isinstance(refused, int):
        form = await look.first(other_forms(plan, matched, planner)) or form
        if form.plan is not plan:
            counted, left, _ = await _balances(images, configuration, subject, form.plan.request)
            chosen = first_that_fits(form.plan.holds, left)
            if isinstance(chosen, int):
                matched, balances = counted, left
            else:
                form = Rung(plan, {})
    shown = chosen if isinstance(chosen, int) else 0
    route = form.plan.routes[shown]
    answer: dict[str, Any] = {
        "footprint": route.footprint.as_json(explain=explain),
        "basis": "estimate",
        "hold": hold_json(form.plan.holds[shown]),
        "deployment": route.deployment.id,
        "zone": route.footprint.zone,
        "candidates": [ranked.as_json() for ranked in form.plan.ranking.routes],
        "routing": form.plan.ranking.as_json(),
        **_verdict(form, request, chosen),
        "policies": [
            explained(match, balance, form.plan.holds[shown], viewer or subject)
            for match, balance in zip(matched, balances, strict=True)
        ],
    }
    if not isinstance(chosen, int):
        alternatives = await look.to(plan, matched)
        error = refusal(chosen, matched, viewer or subject, now=datetime.now(UTC), alternatives=alternatives)
        answer["refusal"] = {"status": error.status, **error.body()}
    return answer


def _verdict(form: Rung, request: ImageRequest, chosen: int | list[Shortfall]) -> dict[str, Any]:
    """The decision that a real request would get, with what would be changed; `admit` where nothing is."""
    if not isinstance(chosen, int):
        return {"verdict": "deny"}
    changes = differences(request, form.plan.request)
    moved = reroute(form, chosen, changes)
    told: dict[str, Any] = {"reroute": moved} if moved else {}
    if changes and form.instead is None:
        return {"verdict": "downgrade", "downgrade": changes, **told}
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
        matched, balances, now = await _balances(images, configuration, subject, least)
    except LedgerUnavailable:
        if any(budget.emergency is not None for budget in configuration.policies.budgets):
            return  # it is decided when it is known in full
        raise
    verdict = first_that_fits(plan.holds, balances)
    if isinstance(verdict, int):
        return
    look = Alternatives(images.ledger, configuration, planner, now=now)
    if await look.first(other_forms(plan, matched, planner)) is not None:
        return
    error = refusal(verdict, matched, subject, now=datetime.now(UTC))
    ask = Ask(request_id, subject, least, gone=asyncio.Event())
    story = Story(ask, plan, configuration.policies.version, matched=matched, exceeded=verdict)
    account = Account(
        ask,
        plan,
        story,
        ledger=images.ledger,
        settlements=images.settlements,
        telemetry=images.telemetry,
    )
    await account.note_refusal(error, verdict)
    raise error


async def _balances(
    images: Images, configuration: Configuration, subject: Subject, request: ImageRequest
) -> tuple[list[MatchedBudget], list[Balance], datetime]:
    now = datetime.now(UTC)
    for _ in range(WINDOW_TRIES):
        matched = budgets_for(configuration, subject, request, now)
        try:
            counters = [match.counter for match in matched]
            return matched, await images.ledger.balances(subject.org, counters), now
        except WindowMoved as moved:
            now = moment(moved.now_ms)
    raise LedgerUnavailable("the store's time is in no window of the budgets")
