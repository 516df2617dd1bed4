"""Other forms of a request that has no room, each planned like the request itself.

A ladder goes down step by step: each rung keeps the changes of those above it, and one that does not save
energy is left out. Rerouted, the request stays as it is and goes to one deployment that a policy names, where
residency and the like let it. Both together is what is tried last: the same steps at those deployments. Pure
but for the planner that it is given. Refuses to know amounts used and the ledger.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import ApiError
from gateway.images.lighter import changed, changes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.budgets.matching import MatchedBudget
    from gateway.budgets.policy import Budget
    from gateway.images.lighter import Change
    from gateway.images.request import ImageRequest
    from gateway.lifecycle.plan import Plan

QUALITIES = ("high", "medium", "low")
EDGES_PX = (1024, 768, 512)
EDGE_MULTIPLE_PX = 64
FEWEST_STEPS = 16
"""Models that need fewer steps than this were made for few: half of them would spoil the picture."""
MOST_FORMS = 32
"""How many other forms of one request are tried at most, those of both kinds together included."""


class Planner(Protocol):
    """Plans a request, at the deployment `to` where that is given. Raises `ApiError` where nobody can."""

    def __call__(self, request: ImageRequest, *, to: str | None = None) -> Plan: ...


@dataclass(frozen=True, slots=True)
class Rung:
    """A form of a request with its plan; `set` are the fields by which it differs from what was asked.

    `instead` is the deployment to which it would have gone, for one that is rerouted; `first` the one that it
    would ask first, where the plan has only a later part of its routes.
    """

    plan: Plan
    set: Change
    instead: str | None = None
    first: str | None = None


def other_forms(
    plan: Plan, matched: Sequence[MatchedBudget], planner: Planner, *, caller: bool | None = None
) -> list[Rung]:
    """What may be tried when the request as it was asked has no room, in this order.

    `caller` is what the request says about being changed: yes, no, or nothing.
    """
    if caller is False:
        return []
    actions = dict.fromkeys(action for budget in enforced(matched) for action in budget.on_exceed)
    if caller:
        actions.setdefault("downgrade")
    found: list[Rung] = []
    for action in actions:
        if action == "downgrade":
            found += rungs(plan, allowed_changes(matched, plan, caller=caller), planner)
        elif action == "reroute":
            found += rerouted(plan, matched, planner)
    return found[:MOST_FORMS]


def forms_of_both(
    alone: Sequence[Rung],
    matched: Sequence[MatchedBudget],
    planner: Planner,
    *,
    caller: bool | None = None,
) -> list[Rung]:
    """What may be tried when none of `other_forms` (`alone`) has room: their ladder at the other deployments.

    Rung by rung, each at every deployment, before the next: so that as little as possible is changed. Another
    model is no rung there, since the deployment says which one it has.
    """
    found = [
        [
            replace(rung, instead=elsewhere.instead)
            for rung in rungs(
                elsewhere.plan,
                _without_models(allowed_changes(matched, elsewhere.plan, caller=caller)),
                partial(planner, to=elsewhere.plan.routes[0].deployment.id),
            )
        ]
        for elsewhere in alone
        if elsewhere.instead is not None
    ]
    in_order = [rung for step in zip_longest(*found) for rung in step if rung is not None]
    return in_order[: max(0, MOST_FORMS - len(alone))]


def _without_models(changes: Iterable[Change]) -> list[Change]:
    found = [{name: value for name, value in change.items() if name != "model"} for change in changes]
    return [change for change in found if change]


def rerouted(plan: Plan, matched: Sequence[MatchedBudget], planner: Planner) -> list[Rung]:
    """The request at each deployment that the budgets name, where residency and the like let it go there."""
    tried = {route.deployment.id for route in plan.routes}
    named = dict.fromkeys(name for budget in enforced(matched) for name in budget.reroute)
    found = []
    for name in named:
        if name not in tried:
            with contextlib.suppress(ApiError):  # it may not, cannot, or has no free slot
                other = planner(plan.request, to=name)
                found.append(Rung(other, {}, instead=plan.routes[0].deployment.id))
    return found


def downgrade(form: Rung, changes: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was made lighter; the model that a deployment has instead is no such thing."""
    moved = {"model"} if form.instead is not None else set()
    return {name: values for name, values in changes.items() if name not in moved} or None


def reroute(form: Rung, candidate: int, changes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where the request goes instead, because budgets had no room for it where it would have gone first."""
    first, chosen = form.first or form.plan.routes[0].deployment.id, form.plan.routes[candidate].deployment.id
    if form.instead is not None:
        return {"from": form.instead, "to": chosen} | {k: v for k, v in changes.items() if k == "model"}
    return {"from": first, "to": chosen} if chosen != first else None


def enforced(matched: Sequence[MatchedBudget]) -> list[Budget]:
    """The budgets that change what has no room; those that only watch change nothing."""
    return [match.budget for match in matched if match.budget.mode == "enforce"]


def allowed_changes(
    matched: Sequence[MatchedBudget], plan: Plan, *, caller: bool | None
) -> tuple[Change, ...]:
    """The changes that may be made: those of enforced budgets, then the usual ones if the caller agrees.

    `caller` is what the request says about being downgraded: yes, no, or nothing.
    """
    if caller is False:
        return ()
    return (*declared_changes(matched), *(usual_changes(plan) if caller else ()))


def declared_changes(matched: Sequence[MatchedBudget]) -> tuple[Change, ...]:
    """The ladders of the budgets that are enforced, in the order of the policies."""
    return tuple(change for budget in enforced(matched) for change in budget.downgrade)


def usual_changes(plan: Plan) -> tuple[Change, ...]:
    """Lower quality, then smaller pictures, then fewer steps, as far as the model has them."""
    request, method = plan.request, plan.routes[0].footprint.method
    quality = request.quality if request.quality in QUALITIES else QUALITIES[0]
    changes: list[Change] = [{"quality": lower} for lower in QUALITIES[QUALITIES.index(quality) + 1 :]]
    changes += [{"size": size} for size in _sizes(request, squares_only=method == "tokens")]
    if request.steps is not None and request.steps >= FEWEST_STEPS:
        changes.append({"steps": request.steps // 2})
    return tuple(changes)


def rungs(plan: Plan, changes: Iterable[Change], planner: Planner) -> list[Rung]:
    """The ladder below a planned request."""
    found: list[Rung] = []
    above, so_far = plan, {}  # type: tuple[Plan, dict[str, str | int]]
    for change in changes:
        rung = lighter(plan.request, {**so_far, **change}, above, planner)
        if rung is not None:
            found.append(rung)
            above, so_far = rung.plan, dict(rung.set)
    return found


def lighter(request: ImageRequest, change: Change, than: Plan, planner: Planner) -> Rung | None:
    """The request with a change, if somebody can do it and it takes less energy than a plan."""
    if not changes(request, change):
        return None
    try:
        plan = planner(changed(request, change))
    except ApiError:  # nobody offers it, or everybody who does is busy
        return None
    if plan.routes[0].footprint.energy_wh.central >= than.routes[0].footprint.energy_wh.central:
        return None
    return Rung(plan, change)


def _sizes(request: ImageRequest, *, squares_only: bool) -> list[str]:
    """Smaller sizes of the same shape; models that take few sizes all take the square one."""
    width, height = request.width or EDGES_PX[0], request.height or EDGES_PX[0]
    if squares_only:
        return [f"{EDGES_PX[0]}x{EDGES_PX[0]}"] if width * height > EDGES_PX[0] ** 2 else []
    longest = max(width, height)
    return [
        "x".join(
            str(max(EDGE_MULTIPLE_PX, round(side * edge / longest / EDGE_MULTIPLE_PX) * EDGE_MULTIPLE_PX))
            for side in (width, height)
        )
        for edge in EDGES_PX
        if edge < longest
    ]
