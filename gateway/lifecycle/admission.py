"""Asking the ledger for room: the request itself on every route, then its other forms where allowed.

All forms that count against the same counters are asked for in one call, which admits the first that fits
or none. What has counters of its own (another model or deployment, where budgets tell them apart) is asked
for when those above it were refused, and nothing is held; so are lighter forms at other deployments. A
request that would have to wait for a slot first hears what no waiting would change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

from gateway.budgets.claims import Earlier
from gateway.budgets.holds import Denied, Held
from gateway.budgets.verdict import ever_fits, first_that_fits
from gateway.budgets.windows import moment
from gateway.errors import LedgerUnavailable, WindowMoved
from gateway.lifecycle.ladder import Rung, forms_of_both, other_forms
from gateway.lifecycle.runs import concerned, runs_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.budgets.counter import Shortfall
    from gateway.budgets.ledger import Ledger
    from gateway.budgets.matching import MatchedBudget
    from gateway.lifecycle.ask import Ask
    from gateway.lifecycle.ladder import Planner
    from gateway.lifecycle.plan import Configuration, Plan
    from gateway.lifecycle.runs import Run
    from gateway.lifecycle.story import Story

WINDOW_TRIES = 3

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Admitted:
    """The hold, by the index of its route in the plan of `form`, which may be another than what was asked."""

    form: Rung
    held: Held
    matched: Sequence[MatchedBudget]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is held. `rows` are those of the request as it was asked first, in the windows of `now`."""

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
        return await in_window(lambda now: self._at(now, story, self._first_of))

    async def foresee(self, story: Story) -> Refused | Earlier | None:
        """What `ask` would answer however long the request waits: that it was sent before, or a refusal even
        if all that others hold were given back. Holds nothing. Raises `LedgerUnavailable`."""
        claim = self._ask.claim
        if claim is not None and claim.binding:
            earlier = await self._ledger.claims.earlier(self._ask.subject.org, claim)
            if earlier is not None:
                return earlier
        return await in_window(lambda now: self._at(now, story, self._hopeless))

    async def _at(
        self,
        now: datetime,
        story: Story,
        try_all: Callable[[Sequence[Run], datetime, Story], Awaitable[Answer | Refused]],
    ) -> Answer | Refused:
        policies = self._configuration.policies
        own = runs_of(Rung(self._plan, {}), policies, now)
        story.matched = own[0].matched
        matched = concerned(own, policies)
        caller = self._ask.allow_downgrade
        others = other_forms(self._plan, matched, self._planner, caller=caller)
        answer = await try_all([*own, *self._runs(others, now)], now, story)
        if not isinstance(answer, Refused):
            return answer
        both = forms_of_both(others, matched, self._planner, caller=caller)
        last = await try_all(self._runs(both, now), now, story) if both else answer
        return answer if isinstance(last, Refused) else last

    def _runs(self, forms: Sequence[Rung], now: datetime) -> list[Run]:
        return [run for form in forms for run in runs_of(form, self._configuration.policies, now)]

    async def _hopeless(self, runs: Sequence[Run], now: datetime, _: Story) -> Refused | None:
        refused: Refused | None = None
        for run in runs:
            balances = await self._ledger.balances(self._ask.subject.org, run.counters)
            holds = run.form.plan.holds
            if ever_fits(holds, balances):
                return None
            rows = first_that_fits(holds, balances)
            assert not isinstance(rows, int), "what is held takes no less room"  # noqa: S101
            refused = refused or Refused(tuple(rows), run.matched, now)
        return refused

    async def _first_of(
        self, runs: Sequence[Run], now: datetime, story: Story
    ) -> Admitted | Refused | Earlier:
        """The first run with room; refused, it tells of the first one that was asked."""
        policies = self._configuration.policies
        refused: Refused | None = None
        for _, same in groupby(runs, key=lambda run: run.ids):
            asked = list(same)
            answer = await self._ledger.reserve(
                self._ask.subject.org,
                self._ask.id,
                [hold for run in asked for hold in run.form.plan.holds],
                asked[0].counters,
                story.open_record(self._plan.routes[0]),
                policies=(policies.version, policies.number),
                claim=self._ask.claim,
            )
            if isinstance(answer, Earlier):
                return answer
            if isinstance(answer, Held):
                return _admitted(answer, asked)
            refused = refused or _refused(answer, runs[0], now)
        assert refused is not None, "there is always something to ask"  # noqa: S101
        return refused


async def in_window(ask: Callable[[datetime], Awaitable[Answer]]) -> Answer:
    """What `ask` answers, in the windows of this moment; where the clocks differ, of the store's.

    Raises `LedgerUnavailable`.
    """
    now = datetime.now(UTC)
    for _ in range(WINDOW_TRIES):
        try:
            return await ask(now)
        except WindowMoved as moved:
            now = moment(moved.now_ms)
    raise LedgerUnavailable("the store's time is in no window of the budgets")


def _refused(answer: Denied, first: Run, now: datetime) -> Refused:
    own = len(first.form.plan.holds)
    return Refused(tuple(row for row in answer.rows if row.candidate < own), first.matched, now)


def _admitted(held: Held, runs: Sequence[Run]) -> Admitted:
    index = held.candidate
    for run in runs:
        own = len(run.form.plan.holds)
        if index < own:
            return Admitted(run.form, replace(held, candidate=index), run.matched)
        index -= own
    msg = f"the ledger admitted candidate {held.candidate}, which was not asked for"
    raise LedgerUnavailable(msg)
