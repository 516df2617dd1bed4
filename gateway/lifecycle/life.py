"""One request between its hold and its settlement: reserve, dispatch, send, settle, in that order.

Every way out of it posts the hold exactly once: settled by what came back, charged as held when nobody knows
what happened, or released when the work surely did not run.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.budgets.claims import Earlier
from gateway.budgets.notices import notices
from gateway.budgets.refusal import refusal
from gateway.errors import (
    HoldGone,
    LedgerUnavailable,
    UpstreamFailure,
)
from gateway.images.lighter import differences
from gateway.lifecycle import failures, repeats
from gateway.lifecycle.account import Account
from gateway.lifecycle.admission import Admission, Admitted, Refused
from gateway.lifecycle.alternatives import Alternatives
from gateway.lifecycle.ask import Ask, ClientGone, Served
from gateway.lifecycle.attempts import Attempts
from gateway.lifecycle.delivery import Delivery
from gateway.lifecycle.ladder import Rung, downgrade, reroute
from gateway.lifecycle.runs import runs_of
from gateway.lifecycle.story import Story
from gateway.lifecycle.tries import Tries
from gateway.routing.circuits import BROKEN, WELL
from gateway.telemetry import names, tracing
from gateway.upstreams.answers import UpstreamStream
from gateway.upstreams.refusals import not_started

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from gateway.budgets.holds import Held
    from gateway.budgets.ledger import Ledger
    from gateway.errors import ApiError
    from gateway.lifecycle.ladder import Planner
    from gateway.lifecycle.plan import Configuration, Plan
    from gateway.lifecycle.settlement import Settlements
    from gateway.lifecycle.slot import Slot
    from gateway.routing.rank import Route
    from gateway.routing.retries import RetryBudget
    from gateway.telemetry import Telemetry
    from gateway.upstreams.client import Upstreams

logger = logging.getLogger(__name__)

WITHOUT_STORE = (
    "The budget store is down: this was not checked against budgets, counts against an emergency"
    " allowance and is charged when the store is back."
)


class Life:
    """Make it, `reserve()`, then `send()`; call `abandon()` when `send()` raised something unexpected."""

    def __init__(
        self,
        ask: Ask,
        plan: Plan,
        configuration: Configuration,
        *,
        ledger: Ledger,
        settlements: Settlements,
        upstreams: Upstreams,
        telemetry: Telemetry,
        max_answer_bytes_per_image: int,
        stream_heartbeat_s: float | None,
        planner: Planner,
        slot: Slot,
        retries: RetryBudget,
    ) -> None:
        self._configuration = configuration
        self._slot = slot
        self._retries = retries
        self._ledger = ledger
        self._settlements = settlements
        self._planner: Planner = lambda request, *, to=None: slot.applied(planner(request, to=to))
        self._upstreams = upstreams
        self._telemetry = telemetry
        self._max_answer_bytes_per_image = max_answer_bytes_per_image
        self._heartbeat_s = stream_heartbeat_s
        self._dispatched: Route | None = None
        self._begin(ask, plan)

    def _begin(self, ask: Ask, plan: Plan) -> None:
        """The life of this request, or of the lighter form that took its place."""
        self._ask, self._plan = ask, plan
        self._story = Story(ask, plan, self._configuration.policies.version)
        self._account = Account(
            ask,
            plan,
            self._story,
            ledger=self._ledger,
            settlements=self._settlements,
            telemetry=self._telemetry,
        )
        self._delivery = Delivery(ask, self._story, self._account, self._configuration, self._heartbeat_s)
        self._attempts = Attempts(
            ask, self._story, self._slot, self._upstreams, self._telemetry, self._max_answer_bytes_per_image
        )

    async def reserve(self) -> None:
        """Takes a slot, then the hold, or raises the refusal; a refused request keeps neither."""
        ask = self._ask
        self._begin(ask, await self._slot.take(self._plan, before_waiting=self._foresee))
        with self._telemetry.tracing.span(names.SPAN_RESERVE) as span:
            try:
                answer = await self._admission().ask(self._story)
            except LedgerUnavailable as unavailable:
                await self._without_store(span, unavailable)
                return
            span.set_attribute(names.BUDGETS, [matched.counter.budget for matched in self._story.matched])
            if not isinstance(answer, Admitted):
                raise await self._refusal(span, answer)
            form = answer.form
            if form.plan is not self._plan:
                self._begin(replace(ask, request=form.plan.request), form.plan)
            changes = differences(ask.request, form.plan.request)
            self._story.downgrade = downgrade(form, changes)
            self._story.reroute = reroute(form, answer.held.candidate, changes)
            self._story.matched = answer.matched
            self._note(answer.held)
            self._account.opened(answer.held)
            chosen = self._plan.routes[answer.held.candidate]
            span.set_attributes(
                {
                    names.DECISION: self._story.decision,
                    names.DEPLOYMENT: chosen.deployment.id,
                    names.WOULD_REFUSE: sorted({row.counter.budget for row in answer.held.exceeded}),
                }
            )

    async def _foresee(self) -> None:
        """Raises at once what the ledger would answer however long the request waits for a slot."""
        try:
            answer = await self._admission().foresee(self._story)
        except LedgerUnavailable:
            answer = None  # it is asked again when there is a slot
        if answer is not None:
            with self._telemetry.tracing.span(names.SPAN_RESERVE) as span:
                raise await self._refusal(span, answer)

    def _admission(self) -> Admission:
        return Admission(self._ask, self._plan, self._configuration, self._ledger, self._planner)

    async def send(self) -> Served:
        """Asks the chosen deployment and, where that is safe or wanted, others that have room."""
        held = self._account.held
        assert held is not None, "reserve() comes first"  # noqa: S101
        tries = Tries(self._story, self._configuration.deployments.rules.retries)
        attempts = self._plan.attempts(held.candidate)
        for route in attempts:
            if tries.made and not self._retries.take():
                break
            if not await self._slot.at(route):
                continue
            await self._dispatch(route, tries)
            try:
                answer = await self._attempts.at(route, len(tries.made) + 1)
            except UpstreamFailure as failure:
                if tries.again(route, failure):
                    continue
                break
            except ClientGone:
                await self._account.charge_as_held(route, outcome="client_gone", status=None)
                raise
            if isinstance(answer, UpstreamStream):
                return self._delivery.begin(route, answer)
            return await self._delivery.whole(route, answer)
        raise await self._nothing_came(tries, attempts[-1])

    async def _nothing_came(self, tries: Tries, last: Route, instead: ApiError | None = None) -> ApiError:
        """Posts what the attempts that failed leave behind; the answer that tells of them, or `instead` where
        they leave nothing."""
        charged, rejected = tries.charged(), tries.rejected()
        error: ApiError
        if charged is not None:
            route, unknown = charged
            error = failures.unknown(unknown)
            await self._account.charge_as_held(route, outcome="unknown", status=error.status)
        elif rejected is not None:
            route, refused = rejected
            error = failures.relayed(refused)
            await self._account.release(route, outcome="rejected", status=refused.status)
        else:
            failed = tries.failures()
            nobody = failures.nobody_started(not_started(failed)) if failed else failures.busy()
            error = instead or nobody
            await self._account.release(last, outcome="not_started", status=error.status)
        return error

    async def follow(self, served: Served) -> None:
        """Relays the stream that `send()` began, to its end or its failure, and settles."""
        try:
            await self._delivery.follow(served)
        finally:
            well = served.relay is not None and served.relay.complete
            self._slot.ended(served.route, WELL if well else BROKEN)

    async def abandon(self) -> None:
        """Posts what an unexpected error left open: charged if a request may have gone out, else released."""
        self._slot.leave()
        held = self._account.held
        if self._account.closed or held is None:
            return
        if self._dispatched is None:
            await self._account.release(self._plan.routes[held.candidate], outcome="not_started", status=500)
        else:
            await self._account.charge_as_held(self._dispatched, outcome="unknown", status=500)

    async def _without_store(self, span: Span, unavailable: LedgerUnavailable) -> None:
        """Goes on within the allowance that policies declare for this, or raises the refusal.

        Without the ledger, nothing but the first run of the plan's routes is asked.
        """
        first = runs_of(Rung(self._plan, {}), self._configuration.policies, datetime.now(UTC))[0]
        if first.form.plan is not self._plan:
            self._begin(self._ask, first.form.plan)
            self._story.matched = first.matched
        if unavailable.asked:  # the hold may have been made without our hearing of it
            self._account.give_up(self._plan.routes[0])
        if not (unavailable.away and await self._account.use()):
            tracing.failed(span, "budget_store_unavailable")
            self._account.closed = True
            raise failures.store_unavailable() from unavailable
        held = self._account.held
        assert held is not None, "a use holds"  # noqa: S101
        self._story.notices = (WITHOUT_STORE,)
        self._telemetry.metrics.would_refuse(route=self._ask.request.route, mode="emergency")
        span.set_attributes(
            {
                names.BUDGETS: [matched.counter.budget for matched in self._story.matched],
                names.DECISION: self._story.decision,
                names.DEPLOYMENT: self._plan.routes[held.candidate].deployment.id,
            }
        )

    async def _refusal(self, span: Span, answer: Refused | Earlier) -> ApiError:
        """The answer to a request that came before, or has no room: then with what would be admitted instead,
        and noted for review."""
        if isinstance(answer, Earlier):
            repeated = repeats.told(answer)
            span.set_attributes({names.DECISION: "deny", names.REPEATS: answer.hold})
            self._telemetry.metrics.refused(route=self._ask.request.route, code=str(repeated.code))
            return repeated
        look = Alternatives(self._ledger, self._configuration, self._planner, now=answer.now)
        error = refusal(
            answer.rows,
            answer.matched,
            self._ask.subject,
            now=datetime.now(UTC),
            alternatives=await look.to(self._plan, answer.rows),
        )
        self._story.exceeded = answer.rows
        span.set_attributes({names.DECISION: "deny", names.REFUSED_BY: answer.rows[0].counter.budget})
        await self._account.note_refusal(error, answer.rows)
        return error

    def _note(self, held: Held) -> None:
        """What budgets that let the request pass have to say about it."""
        story = self._story
        story.exceeded = held.exceeded
        story.notices = notices(held, story.matched, self._ask.subject, now=datetime.now(UTC))
        modes = {matched.counter.id: matched.budget.mode for matched in story.matched}
        noted = {modes[row.counter.id] for row in held.exceeded}
        if story.downgrade:
            story.decision = "downgrade"
        elif story.reroute:
            story.decision = "reroute"
        elif "warn" in noted:
            story.decision = "warn"
        claim = self._ask.claim
        if held.earlier is not None and self._ask.retry_count and claim is not None and not claim.binding:
            story.retry_of = held.earlier
            self._telemetry.metrics.retried(route=self._ask.request.route)
        for mode in noted:
            self._telemetry.metrics.would_refuse(route=self._ask.request.route, mode=mode)

    async def _dispatch(self, route: Route, tries: Tries) -> None:
        """Marks the hold before the first upstream byte; from here on its lease's end means a charge."""
        ask = self._ask
        if ask.gone.is_set():
            charged = tries.charged()
            if charged is not None:
                await self._account.charge_as_held(charged[0], outcome="client_gone", status=None)
            else:
                await self._account.release(route, outcome="client_gone", status=None)
            raise ClientGone
        if self._account.unenforced:
            self._dispatched = route
            return
        record = self._story.open_record(route)
        try:
            await self._ledger.dispatch(ask.subject.org, ask.id, record)
        except (LedgerUnavailable, HoldGone) as error:
            raise await self._nothing_came(tries, route, failures.store_unavailable()) from error
        self._dispatched = route
        self._account.sent(record)
