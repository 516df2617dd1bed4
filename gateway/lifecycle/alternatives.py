"""What would be admitted instead of a request that was refused.

Each one says which fields of the request to set, is planned as the request with these fields would be, and is
compared with the balances of this moment: it is admitted if it is sent now and nobody else was faster. A
deployment that a policy names is reached by the model that it serves. A refusal stands without them when the
store cannot be asked.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from gateway.budgets.amounts import Dimension
from gateway.budgets.verdict import first_that_fits
from gateway.errors import ApiError, StoreError
from gateway.images.lighter import changed, changes
from gateway.lifecycle.ladder import (
    Rung,
    declared_changes,
    enforced,
    forms_of_both,
    lighter,
    other_forms,
    rungs,
    usual_changes,
)
from gateway.lifecycle.runs import concerned, runs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from gateway.budgets.counter import Shortfall
    from gateway.budgets.holds import Balance
    from gateway.budgets.ledger import Ledger
    from gateway.budgets.matching import MatchedBudget
    from gateway.images.lighter import Change
    from gateway.lifecycle.ladder import Planner
    from gateway.lifecycle.plan import Configuration, Plan

MOST = 8
MOST_MODELS = 16
"""How many models that no policy names are looked at, in the order of the deployments."""


class Alternatives:
    """Looks for them at one moment; the balances of each set of counters are read once."""

    def __init__(
        self, ledger: Ledger, configuration: Configuration, planner: Planner, *, now: datetime
    ) -> None:
        self._ledger = ledger
        self._policies = configuration.policies
        self._deployments = configuration.deployments
        self._planner = planner
        self._now = now
        self._balances: dict[tuple[str, ...], list[Balance]] = {}

    async def to(self, plan: Plan, rows: Iterable[Shortfall]) -> list[dict[str, Any]]:
        """The mildest change of each kind that fits, and models that fit; with none of them, several changes
        together. `rows` are why the request itself was refused."""
        if self._in_vain(rows):
            return []
        matched = concerned(runs_of(Rung(plan, {}), self._policies, self._now), self._policies)
        try:
            alone = [*await self._alone(plan, matched), *await self._models(plan, matched)]
            found = list({tuple(rung.set.items()): rung for rung in alone}.values())
            if not found:
                together = await self.first(self._together(plan, matched))
                found = [together] if together is not None else []
            return [self._shown(rung) for rung in found[:MOST]]
        except StoreError:
            return []

    async def instead(self, plan: Plan, matched: Sequence[MatchedBudget]) -> Rung | None:
        """What policies would make of the request without asking, with the routes where it fits now.

        Raises `StoreError`.
        """
        alone = other_forms(plan, matched, self._planner)
        return await self.first(alone) or await self.first(forms_of_both(alone, matched, self._planner))

    async def first(self, ladder: Iterable[Rung]) -> Rung | None:
        """The first rung that fits now, with the routes where it does. Raises `StoreError`."""
        for rung in ladder:
            if (fitting := await self._where_it_fits(rung)) is not None:
                return fitting
        return None

    def _in_vain(self, rows: Iterable[Shortfall]) -> bool:
        """Whether not one image is left in a budget that every form counts against: a crowd that is refused
        for that must not cost a search each time."""
        if self._policies.by_model or self._policies.by_deployment:
            return False
        return any(row.dimension is Dimension.IMAGES and row.used + row.held >= row.limit for row in rows)

    async def _alone(self, plan: Plan, matched: Sequence[MatchedBudget]) -> list[Rung]:
        found: dict[tuple[str, ...], Rung] = {}
        for change in (*usual_changes(plan), *declared_changes(matched)):
            kind = tuple(sorted(change))
            if kind not in found and (rung := await self._fitting(plan, change)) is not None:
                found[kind] = rung
        fewer = await self._fewer(plan)
        return [*found.values(), *([fewer] if fewer is not None else [])]

    async def _models(self, plan: Plan, matched: Sequence[MatchedBudget]) -> list[Rung]:
        """The request with another model: each that a policy would move it to, and of all others the one that
        takes the most of those that take less."""
        named = list(self._named_models(plan, matched))
        fitting = [await self._where_it_fits(rung) for rung in self._with_models(plan, named)]
        declared = {change["model"] for change in declared_changes(matched) if "model" in change}
        others = (one for one in self._deployments.models() if one not in {*named, *declared})
        rest = sorted(
            (
                rung
                for rung in self._with_models(plan, islice(others, MOST_MODELS))
                if _energy_wh(rung.plan) < _energy_wh(plan)
            ),
            key=lambda rung: -_energy_wh(rung.plan),
        )
        return [rung for rung in (*fitting, await self.first(rest)) if rung is not None]

    def _named_models(self, plan: Plan, matched: Sequence[MatchedBudget]) -> list[str]:
        """Under what model a client reaches the deployments to which policies would move its request."""
        serving = {one.id: one.models for one in self._deployments.deployments}
        names = (name for budget in enforced(matched) for name in budget.reroute)
        places = (serving[name] for name in names if plan.request.model not in serving[name])
        return list(dict.fromkeys(models[0] for models in places))

    def _with_models(self, plan: Plan, models: Iterable[str]) -> Iterator[Rung]:
        request = plan.request
        for model in models:
            change = {"model": model}
            if model != request.model and changes(request, change):
                with suppress(ApiError):  # it cannot take such a request, or everybody who could is busy
                    yield Rung(self._planner(changed(request, change)), change)

    def _together(self, plan: Plan, matched: Sequence[MatchedBudget]) -> Iterator[Rung]:
        """Several changes of the request, then the same with one image, then with the models that policies
        name."""
        one = lighter(plan.request, {_count(plan): 1}, plan, self._planner)
        models = self._with_models(plan, self._named_models(plan, matched))
        for base in (Rung(plan, {}), *([one] if one is not None else []), *models):
            ladder = rungs(base.plan, (*declared_changes(matched), *usual_changes(base.plan)), self._planner)
            for rung in ladder:
                whole = {**base.set, **rung.set}
                if len(whole) > 1:
                    yield replace(rung, set=whole)

    async def _fewer(self, plan: Plan) -> Rung | None:
        """As many images as fit, by halving what is unknown: fewer images never need more."""
        name, fits, enough = _count(plan), 0, plan.request.n
        if plan.request.tool is not None:
            enough = plan.routes[0].footprint.images // plan.request.n
        found = None
        while enough - fits > 1:
            middle = (fits + enough) // 2
            rung = await self._fitting(plan, {name: middle})
            fits, enough, found = (middle, enough, rung) if rung is not None else (fits, middle, found)
        return found

    async def _fitting(self, plan: Plan, change: Change) -> Rung | None:
        rung = lighter(plan.request, change, plan, self._planner)
        return await self._where_it_fits(rung) if rung is not None else None

    async def _where_it_fits(self, rung: Rung) -> Rung | None:
        for run in runs_of(rung, self._policies, self._now):
            plan = run.form.plan
            if run.ids not in self._balances:
                self._balances[run.ids] = await self._ledger.balances(plan.subject.org, run.counters)
            if isinstance(first_that_fits(plan.holds, self._balances[run.ids]), int):
                return run.form
        return None

    def _shown(self, rung: Rung) -> dict[str, Any]:
        """What to change, and what it would then take by the central estimate."""
        charge = rung.plan.holds[0].central
        return {
            "set": dict(rung.set),
            "requested": {
                dimension.field: dimension.shown(amount) for dimension, amount in charge.known().items()
            },
        }


def _count(plan: Plan) -> str:
    """The field for the number of images; a response has fewer by using its tool less often."""
    return "n" if plan.request.tool is None else "max_tool_calls"


def _energy_wh(plan: Plan) -> float:
    return plan.routes[0].footprint.energy_wh.central
