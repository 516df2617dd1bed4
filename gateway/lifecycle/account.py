"""The account of one request: its hold, and the one posting that closes it.

However often it is asked to, it posts once: what is posted first stands. Refuses to know why.
"""

from __future__ import annotations

import logging
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gateway.budgets.emergency import allowed
from gateway.budgets.holds import Held
from gateway.budgets.recovery import OpenHold
from gateway.errors import LedgerUnavailable
from gateway.lifecycle.plan import hold_of
from gateway.lifecycle.story import UNENFORCED
from gateway.lifecycle.unposted import Posting
from gateway.lifecycle.uses import emergency_hold
from gateway.telemetry import names, tracing
from gateway.usage.record import UNCERTAIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.budgets.amounts import Charge, Dimension
    from gateway.budgets.counter import Counter, Shortfall
    from gateway.budgets.ledger import Ledger
    from gateway.errors import ApiError
    from gateway.footprint.quantities import Footprint
    from gateway.lifecycle.ask import Ask
    from gateway.lifecycle.plan import Plan
    from gateway.lifecycle.seats import Seat
    from gateway.lifecycle.settlement import Settlements
    from gateway.lifecycle.story import Story
    from gateway.routing.rank import Route
    from gateway.telemetry import Telemetry

logger = logging.getLogger(__name__)


class Account:
    """`held` is the ledger's answer to the reservation, once there is one."""

    def __init__(
        self,
        ask: Ask,
        plan: Plan,
        story: Story,
        *,
        ledger: Ledger,
        settlements: Settlements,
        telemetry: Telemetry,
    ) -> None:
        self._ask = ask
        self._plan = plan
        self._story = story
        self._ledger = ledger
        self._settlements = settlements
        self._telemetry = telemetry
        self.held: Held | None = None
        self.closed = False
        self.unenforced = False
        self._hold = ask.id

    async def use(self) -> bool:
        """Goes on without the store, within what every budget allows for that; False when one does not.

        A request with an idempotency key never does, because nobody can say whether it came before.
        """
        ask, matched = self._ask, self._story.matched
        uses = self._settlements.uses
        if uses is None or (ask.claim is not None and ask.claim.binding):
            return False
        counters = tuple(match.counter for match in matched)
        hold, decision = emergency_hold(ask.id), self._story.decision
        self._story.decision = UNENFORCED
        for index, charge in enumerate(self._plan.holds):
            record = self._story.open_record(self._plan.routes[index])
            posting = Posting(ask.subject.org, hold, charge, record, counters, known=False)

            def allows(seat: Seat, charge: Charge = charge) -> bool:
                used = partial(seat.used, ask.subject.org)
                return allowed(charge, matched, seat=seat.number, used=used)

            if await uses.begin(posting, allows):
                self.held, self._hold, self.unenforced = Held(index, counters, (), replay=False), hold, True
                return True
        self._story.decision = decision
        return False

    def give_up(self, route: Route) -> None:
        """The store may have made the hold without an answer: it is released when the store is back."""
        record = self._story.record(
            route, outcome="not_started", status=HTTPStatus.SERVICE_UNAVAILABLE, images=0
        )
        self._settlements.later(Posting(self._ask.subject.org, self._ask.id, None, record))

    def opened(self, held: Held) -> None:
        """The hold exists: its lease is renewed until it is posted."""
        self.held = held
        ask, route = self._ask, self._plan.routes[held.candidate]
        record = self._story.open_record(route)
        charge = self._plan.holds[held.candidate]
        self._settlements.opened(
            OpenHold(ask.subject.org, ask.id, charge, held.counters, record, claim=ask.claim)
        )

    def sent(self, record: str) -> None:
        """The work is about to go upstream; `record` is what an expiry of the hold would journal."""
        self._settlements.sent(self._ask.id, record)

    async def settle(
        self, charge: Charge, route: Route, footprint: Footprint, *, basis: str, **facts: Any
    ) -> None:
        """Posts a charge; `facts` go into the record as they are."""
        if self.closed:
            return
        ask = self._ask
        record = self._story.record(route, footprint=footprint, basis=basis, **facts)
        self.closed = True
        attributes = tracing.footprint_attributes(footprint, basis=basis)
        with self._telemetry.tracing.span(names.SPAN_SETTLE, attributes) as span:
            known = facts.get("outcome") not in UNCERTAIN
            posting = Posting(
                ask.subject.org, self._hold, charge, record, self._counters(), known=known, claim=ask.claim
            )
            if not await self._settlements.post(posting):
                tracing.failed(span, "queued")
        self._note_waste()
        model, metrics = ask.request.model, self._telemetry.metrics
        metrics.charged(model=model, deployment=route.deployment.id, footprint=footprint)
        instead = self._plan.ranking.instead
        for name, carbon_g in (instead.avoided_g(route.footprint, footprint) if instead else {}).items():
            metrics.avoided(model=model, baseline=name, carbon_g=carbon_g)

    async def charge_as_held(self, route: Route, *, outcome: str, status: int | None) -> Charge:
        """Posts the estimate of the deployment that may have done the work."""
        charge = hold_of(route)
        facts = {"outcome": outcome, "status": status, "usage_basis": "estimated"}
        await self.settle(charge, route, route.footprint, basis="estimate", **facts)
        return charge

    async def release(self, route: Route, *, outcome: str, status: int | None) -> None:
        """Gives the hold back: the work surely did not run."""
        if self.closed:
            return
        ask = self._ask
        record = self._story.record(route, outcome=outcome, status=status, images=0)
        self.closed = True
        self._note_waste()
        with self._telemetry.tracing.span(names.SPAN_SETTLE, {names.OUTCOME: "released"}):
            await self._settlements.post(Posting(ask.subject.org, self._hold, None, record, self._counters()))

    async def note_refusal(self, error: ApiError, rows: Sequence[Shortfall]) -> None:
        """Keeps the refusal for review; the refusal itself stands even when it cannot be noted."""
        ask = self._ask
        self._telemetry.metrics.refused(route=ask.request.route, code=error.code or "unknown")
        record = self._story.record(
            self._plan.routes[0], outcome="refused", status=error.status, images=0, refused=error.message
        )
        try:
            await self._ledger.refused(ask.subject.org, ask.id, record, rows)
        except LedgerUnavailable as failure:
            logger.warning("a refusal was not recorded: %s", failure)

    def _note_waste(self) -> None:
        for attempt in self._story.attempts:
            if attempt.wasted is not None:
                self._telemetry.metrics.wasted(deployment=attempt.deployment, amounts=attempt.wasted)

    def left(self, charge: Charge) -> list[dict[Dimension, int]]:
        """What each matched budget has left when `charge` takes the place of the hold."""
        held = self.held
        assert held is not None, "the reservation comes first"  # noqa: S101
        hold = self._plan.holds[held.candidate]
        left: list[dict[Dimension, int]] = []
        for counter in held.counters:
            before, after = hold.of(counter.bound).known(), charge.of(counter.bound).known()
            left.append(
                {
                    room.dimension: room.available + before[room.dimension] - after[room.dimension]
                    for room in held.available
                    if room.counter.id == counter.id and room.dimension in before and room.dimension in after
                }
            )
        return left

    def _counters(self) -> tuple[Counter, ...]:
        return self.held.counters if self.held is not None else ()
