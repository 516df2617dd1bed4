"""What would be admitted instead of a request that was refused.

Each one is planned and compared with the balances of this moment, so it is admitted if it is sent now and
nobody else was faster. A refusal stands without them when the store cannot be asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.budgets.verdict import first_that_fits
from gateway.errors import StoreError
from gateway.lifecycle.ladder import Rung, declared_changes, lighter, rungs, usual_changes
from gateway.lifecycle.runs import concerned, runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.budgets.holds import Balance
    from gateway.budgets.ledger import Ledger
    from gateway.budgets.matching import MatchedBudget
    from gateway.images.lighter import Change
    from gateway.lifecycle.ladder import Planner
    from gateway.lifecycle.plan import Configuration, Plan

MOST = 5


class Alternatives:
    """Looks for them at one moment; the balances of each set of counters are read once."""

    def __init__(
        self, ledger: Ledger, configuration: Configuration, planner: Planner, *, now: datetime
    ) -> None:
        self._ledger = ledger
        self._policies = configuration.policies
        self._planner = planner
        self._now = now
        self._balances: dict[tuple[str, ...], list[Balance]] = {}

    async def to(self, plan: Plan) -> list[dict[str, Any]]:
        """The mildest change of each kind that fits; where none does alone, several together."""
        matched = concerned(runs_of(Rung(plan, {}), self._policies, self._now), self._policies)
        try:
            found = await self._alone(plan, matched)
            if not found:
                ladder = rungs(plan, (*declared_changes(matched), *usual_changes(plan)), self._planner)
                together = await self.first([rung for rung in ladder if len(rung.set) > 1])
                found = [together] if together is not None else []
            return [self._shown(rung) for rung in found[:MOST]]
        except StoreError:
            return []

    async def first(self, ladder: Sequence[Rung]) -> Rung | None:
        """The first rung that fits now, with the routes where it does. Raises `StoreError`."""
        for rung in ladder:
            if (fitting := await self._where_it_fits(rung)) is not None:
                return fitting
        return None

    async def _alone(self, plan: Plan, matched: Sequence[MatchedBudget]) -> list[Rung]:
        found: dict[tuple[str, ...], Rung] = {}
        for change in (*usual_changes(plan), *declared_changes(matched)):
            kind = tuple(sorted(change))
            if kind not in found and (rung := await self._fitting(plan, change)) is not None:
                found[kind] = rung
        fewer = await self._fewer(plan)
        return [*found.values(), *([fewer] if fewer is not None else [])]

    async def _fewer(self, plan: Plan) -> Rung | None:
        """As many images as fit, by halving what is unknown: fewer images never need more.

        A response has fewer by using its tool less often.
        """
        name, fits, enough = "n", 0, plan.request.n
        if plan.request.tool is not None:
            name, enough = "max_tool_calls", plan.routes[0].footprint.images // plan.request.n
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
