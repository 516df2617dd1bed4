"""Asking the ledger for room: the request itself on every route, then its other forms where allowed.

All forms that count against the same counters are asked for in one call, which admits the first that fits
or none. A form with counters of its own (another model, where budgets are per model) is asked for when those
above it were refused, and nothing is held.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from gateway.budgets.claims import Earlier
from gateway.budgets.holds import Denied, Held
from gateway.budgets.windows import moment
from gateway.errors import LedgerUnavailable, WindowMoved
from gateway.lifecycle.ladder import Rung, other_forms
from gateway.lifecycle.plan import budgets_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.budgets.counter import Shortfall
    from gateway.budgets.ledger import Ledger
    from gateway.budgets.matching import MatchedBudget
    from gateway.images.request import ImageRequest
    from gateway.lifecycle.ask import Ask
    from gateway.lifecycle.ladder import Planner
    from gateway.lifecycle.plan import Configuration, Plan
    from gateway.lifecycle.story import Story

WINDOW_TRIES = 3


@dataclass(frozen=True, slots=True)
class Admitted:
    """The hold, by the index of its route in the plan of `form`, which may be another than what was asked."""

    form: Rung
    held: Held
    matched: Sequence[MatchedBudget]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is held. `rows` are those of the request as it was asked, in the windows of `now`."""

    rows: tuple[Shortfall, ...]
    matched: Sequence[MatchedBudget]
    now: datetime


class Admission:
    """The way of one request to its hold."""

    def __init__(
        self, ask: Ask, plan: Plan, configuration: Configuration, ledger: Ledger, planner: Planner
    ) -> None:
        self._ask = ask
        self._plan = plan
        self._configuration = configuration
        self._ledger = ledger
        self._planner = planner

    async def ask(self, story: Story) -> Admitted | Refused | Earlier:
        """The ledger's verdict; where the clocks differ, the windows are those of the store's.

        Raises `LedgerUnavailable`. `story` is told which budgets have a say.
        """
        now = datetime.now(UTC)
        for _ in range(WINDOW_TRIES):
            story.matched = self._budgets(self._plan.request, now)
            try:
                return await self._at(now, story)
            except WindowMoved as moved:
                now = moment(moved.now_ms)
        raise LedgerUnavailable("the store's time is in no window of the budgets")

    async def _at(self, now: datetime, story: Story) -> Admitted | Refused | Earlier:
        matched = list(story.matched)
        others = other_forms(self._plan, matched, self._planner, caller=self._ask.allow_downgrade)
        forms = [Rung(self._plan, {}), *others]
        refused: Refused | None = None
        for _, same in groupby(forms, key=lambda form: self._counter_ids(form.plan.request, now)):
            asked = list(same)
            counted = self._budgets(asked[0].plan.request, now)
            policies = self._configuration.policies
            answer = await self._ledger.reserve(
                self._ask.subject.org,
                self._ask.id,
                [hold for form in asked for hold in form.plan.holds],
                [match.counter for match in counted],
                story.record(self._plan.routes[0], outcome="unknown"),
                policies=(policies.version, policies.number),
                claim=self._ask.claim,
            )
            if isinstance(answer, Earlier):
                return answer
            if isinstance(answer, Held):
                return _admitted(answer, asked, counted)
            refused = refused or self._refused(answer, counted, now)
        assert refused is not None, "there is always the request itself"  # noqa: S101
        return refused

    def _refused(self, answer: Denied, matched: Sequence[MatchedBudget], now: datetime) -> Refused:
        own = len(self._plan.holds)
        return Refused(tuple(row for row in answer.rows if row.candidate < own), matched, now)

    def _budgets(self, request: ImageRequest, now: datetime) -> list[MatchedBudget]:
        return budgets_for(self._configuration, self._ask.subject, request, now)

    def _counter_ids(self, request: ImageRequest, now: datetime) -> list[str]:
        return [match.counter.id for match in self._budgets(request, now)]


def _admitted(held: Held, forms: Sequence[Rung], matched: Sequence[MatchedBudget]) -> Admitted:
    index = held.candidate
    for form in forms:
        if index < len(form.plan.holds):
            return Admitted(form, replace(held, candidate=index), matched)
        index -= len(form.plan.holds)
    msg = f"the ledger admitted candidate {held.candidate}, which was not asked for"
    raise LedgerUnavailable(msg)
