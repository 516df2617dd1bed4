"""One request between its hold and its settlement: reserve, dispatch, send, settle, in that order.

Every way out of it posts the hold exactly once: settled by what came back, charged as held when nobody knows
what happened, or released when the work surely did not run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway import telemetry as names
from gateway.budgets.amounts import Dimension, to_hold, to_settle
from gateway.budgets.holds import Denied, Held
from gateway.budgets.recovery import OpenHold
from gateway.budgets.refusal import refusal, tightest
from gateway.budgets.windows import moment
from gateway.errors import (
    ApiError,
    HoldGone,
    LedgerUnavailable,
    NotStarted,
    OutcomeUnknown,
    Rejected,
    UpstreamFailure,
    WindowMoved,
)
from gateway.images.answer import Delivered, UnreadableAnswer, read_answer
from gateway.lifecycle import failures
from gateway.lifecycle.ask import Ask, ClientGone, Served
from gateway.lifecycle.plan import Configuration, Plan, budgets_for, settled_footprint
from gateway.lifecycle.story import Story
from gateway.lifecycle.unposted import Posting
from gateway.upstreams.client import not_started
from gateway.usage.record import Attempt

if TYPE_CHECKING:
    from gateway.budgets.amounts import Charge
    from gateway.budgets.counter import Counter
    from gateway.budgets.ledger import Ledger
    from gateway.footprint.quantities import Footprint
    from gateway.lifecycle.settlement import Settlements
    from gateway.routing.rank import Route
    from gateway.telemetry import Telemetry
    from gateway.upstreams.client import UpstreamAnswer, Upstreams

logger = logging.getLogger(__name__)

WINDOW_TRIES = 3


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
    ) -> None:
        self._ask = ask
        self._plan = plan
        self._configuration = configuration
        self._ledger = ledger
        self._settlements = settlements
        self._upstreams = upstreams
        self._telemetry = telemetry
        self._max_answer_bytes = max_answer_bytes_per_image * ask.request.n
        self._story = Story(ask, plan, configuration.policies.version)
        self._held: Held | None = None
        self._dispatched: Route | None = None
        self._posted = False

    async def reserve(self) -> None:
        """Takes the hold, or raises the refusal; a refused request changes nothing in the ledger."""
        ask = self._ask
        with self._telemetry.span(names.SPAN_RESERVE) as span:
            try:
                answer = await self._reserved()
            except LedgerUnavailable as unavailable:
                names.failed(span, "budget_store_unavailable")
                # The hold may have been made without our hearing of it: it must not stand in the way.
                await self._release(self._plan.routes[0], outcome="not_started", status=503)
                raise failures.store_unavailable() from unavailable
            span.set_attribute(names.BUDGETS, [matched.counter.budget for matched in self._story.matched])
            if isinstance(answer, Denied):
                error = refusal(answer.rows, self._story.matched, ask.subject, now=datetime.now(UTC))
                span.set_attributes({names.DECISION: "deny", names.REFUSED_BY: answer.rows[0].counter.budget})
                await self._note_refusal(error)
                raise error
            self._held = answer
            chosen = self._plan.routes[answer.candidate]
            record = self._story.record(chosen, outcome="unknown")
            charge = self._plan.holds[answer.candidate]
            self._settlements.opened(OpenHold(ask.subject.org, ask.id, charge, answer.counters, record))
            span.set_attributes({names.DECISION: "allow", names.DEPLOYMENT: chosen.deployment.id})

    async def send(self) -> Served:
        """Asks the chosen deployment and, if it surely did not start, one more."""
        assert self._held is not None, "reserve() comes first"  # noqa: S101
        failed: list[UpstreamFailure] = []
        attempts = self._plan.attempts(self._held.candidate)
        for number, route in enumerate(attempts, start=1):
            await self._dispatch(route)
            try:
                answer = await self._attempt(route, number)
            except NotStarted as failure:
                failed.append(failure)
                continue
            except Rejected as failure:
                await self._release(route, outcome="rejected", status=failure.status)
                raise failures.relayed(failure) from failure
            except OutcomeUnknown as failure:
                error = failures.unknown(failure)
                await self._charge_as_held(route, outcome="unknown", status=error.status)
                raise error from failure
            except ClientGone:
                await self._charge_as_held(route, outcome="client_gone", status=None)
                raise
            return await self._deliver(route, answer)
        error = failures.nobody_started(not_started(failed))
        await self._release(attempts[-1], outcome="not_started", status=error.status)
        raise error

    async def abandon(self) -> None:
        """Posts what an unexpected error left open: charged if a request may have gone out, else released."""
        if self._posted or self._held is None:
            return
        if self._dispatched is None:
            await self._release(self._plan.routes[self._held.candidate], outcome="not_started", status=500)
        else:
            await self._charge_as_held(self._dispatched, outcome="unknown", status=500)

    async def _reserved(self) -> Held | Denied:
        """The ledger's verdict; where the clocks differ, the windows are those of the store's."""
        ask, plan = self._ask, self._plan
        now = datetime.now(UTC)
        for _ in range(WINDOW_TRIES):
            self._story.matched = budgets_for(self._configuration, ask.subject, ask.request, now)
            try:
                return await self._ledger.reserve(
                    ask.subject.org,
                    ask.id,
                    plan.holds,
                    [matched.counter for matched in self._story.matched],
                    self._story.record(plan.routes[0], outcome="unknown"),
                )
            except WindowMoved as moved:
                now = moment(moved.now_ms)
        raise LedgerUnavailable("the store's time is in no window of the budgets")

    async def _dispatch(self, route: Route) -> None:
        """Marks the hold before the first upstream byte; from here on its lease's end means a charge."""
        ask = self._ask
        if ask.gone.is_set():
            await self._release(route, outcome="client_gone", status=None)
            raise ClientGone
        record = self._story.record(route, outcome="unknown")
        try:
            await self._ledger.dispatch(ask.subject.org, ask.id, record)
        except (LedgerUnavailable, HoldGone) as error:
            await self._release(route, outcome="not_started", status=503)
            raise failures.store_unavailable() from error
        self._dispatched = route
        self._settlements.sent(ask.id, record)

    async def _attempt(self, route: Route, number: int) -> UpstreamAnswer:
        """One try at a deployment, with its span and its line in the record."""
        deployment, request = route.deployment, self._ask.request
        attributes = {
            names.OPERATION: names.OPERATION_IMAGES,
            names.OUTPUT_TYPE: "image",
            names.REQUEST_MODEL: deployment.footprint_model(request.model),
            names.REQUEST_COUNT: request.n,
            names.PROVIDER: deployment.location.provider,
            names.DEPLOYMENT: deployment.id,
            names.ZONE: route.footprint.zone,
            names.ATTEMPT: number,
        }
        started = time.monotonic()
        outcome, status = "unknown", None
        with self._telemetry.span(f"{names.SPAN_UPSTREAM} {request.model}", attributes, client=True) as span:
            try:
                answer = await self._unless_gone(route)
                outcome, status = "delivered", answer.status
            except UpstreamFailure as failure:
                outcome, status = failures.outcome_of(failure), failure.status
                self._telemetry.attempt_failed(deployment=deployment.id, outcome=outcome)
                names.failed(span, outcome)
                raise
            except ClientGone:
                outcome = "client_gone"
                names.failed(span, outcome)
                raise
            else:
                return answer
            finally:
                span.set_attribute(names.OUTCOME, outcome)
                if status is not None:
                    span.set_attribute(names.HTTP_STATUS, status)
                duration_ms = round((time.monotonic() - started) * 1000, 1)
                self._story.attempts.append(Attempt(deployment.id, outcome, status, duration_ms))

    async def _unless_gone(self, route: Route) -> UpstreamAnswer:
        """The answer, or `ClientGone` as soon as the client hangs up, if the deployment wants that."""
        sending = asyncio.ensure_future(
            self._upstreams.to(route.deployment).send(
                self._ask.request,
                trace_headers=self._telemetry.trace_headers(),
                max_answer_bytes=self._max_answer_bytes,
            )
        )
        if route.deployment.on_disconnect == "finish":
            return await sending
        leaving = asyncio.ensure_future(self._ask.gone.wait())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                return await sending
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, UpstreamFailure):
                (await sending).close()
            raise ClientGone
        finally:
            leaving.cancel()
            sending.cancel()

    async def _deliver(self, route: Route, answer: UpstreamAnswer) -> Served:
        """Settles by what came back; an answer without images, or unreadable, is charged as held."""
        try:
            delivered = read_answer(answer.read())
        except UnreadableAnswer as error:
            answer.close()
            failure = OutcomeUnknown(f"The image service's answer cannot be used: {error}.")
            await self._charge_as_held(route, outcome="unknown", status=502)
            raise failures.unknown(failure) from error
        if delivered.images == 0:
            charge = await self._charge_as_held(route, outcome="no_images", status=answer.status)
            return self._served(route, answer, route.footprint, "estimate", charge)
        footprint = settled_footprint(self._configuration, self._ask.request, route.deployment, delivered)
        charge = to_settle(footprint)
        record = self._story.record(
            route,
            outcome="delivered",
            status=answer.status,
            footprint=footprint,
            images=delivered.images,
            basis="settled",
            size=_size(delivered),
            usage=delivered.usage,
        )
        await self._settle(charge, record, route, footprint, basis="settled")
        return self._served(route, answer, footprint, "settled", charge)

    def _served(
        self, route: Route, answer: UpstreamAnswer, footprint: Footprint, basis: str, charge: Charge
    ) -> Served:
        left = self._left(charge)
        return Served(
            answer=answer,
            route=route,
            footprint=footprint,
            basis=basis,
            decision="allow",
            remaining=tightest(self._story.matched, left, self._ask.subject),
            warnings=list(footprint.warnings),
        )

    def _counters(self) -> tuple[Counter, ...]:
        return self._held.counters if self._held is not None else ()

    def _left(self, charge: Charge) -> list[dict[Dimension, int]]:
        """What each matched budget has left when `charge` takes the place of the hold."""
        held = self._held
        assert held is not None, "reserve() comes first"  # noqa: S101
        hold = self._plan.holds[held.candidate]
        left: list[dict[Dimension, int]] = []
        for counter in held.counters:
            freed = {
                dimension: before - after
                for dimension, before, after in zip(
                    Dimension, hold.of(counter.bound).vector(), charge.of(counter.bound).vector(), strict=True
                )
            }
            rooms = [room for room in held.available if room.counter.id == counter.id]
            left.append({room.dimension: room.available + freed[room.dimension] for room in rooms})
        return left

    async def _charge_as_held(self, route: Route, *, outcome: str, status: int | None) -> Charge:
        """Posts the estimate of the deployment that may have done the work."""
        charge = to_hold(route.footprint)
        record = self._story.record(route, outcome=outcome, status=status)
        await self._settle(charge, record, route, route.footprint, basis="estimate")
        return charge

    async def _settle(
        self, charge: Charge, record: str, route: Route, footprint: Footprint, *, basis: str
    ) -> None:
        ask = self._ask
        self._posted = True
        attributes = names.footprint_attributes(footprint, basis=basis)
        with self._telemetry.span(names.SPAN_SETTLE, attributes) as span:
            posting = Posting(ask.subject.org, ask.id, charge, record, self._counters())
            if not await self._settlements.post(posting):
                names.failed(span, "queued")
        self._telemetry.charged(model=ask.request.model, deployment=route.deployment.id, footprint=footprint)

    async def _release(self, route: Route, *, outcome: str, status: int | None) -> None:
        ask = self._ask
        self._posted = True
        with self._telemetry.span(names.SPAN_SETTLE, {names.OUTCOME: "released"}):
            record = self._story.record(route, outcome=outcome, status=status, images=0)
            await self._settlements.post(Posting(ask.subject.org, ask.id, None, record, self._counters()))

    async def _note_refusal(self, error: ApiError) -> None:
        """Keeps the refusal for review; the refusal itself stands even when it cannot be noted."""
        ask = self._ask
        self._telemetry.refused(route=ask.request.route, code=error.code or "unknown")
        record = self._story.record(
            self._plan.routes[0], outcome="refused", status=error.status, images=0, decision="deny"
        )
        try:
            await self._ledger.refused(ask.subject.org, ask.id, record)
        except LedgerUnavailable as failure:
            logger.warning("a refusal was not recorded: %s", failure)


def _size(delivered: Delivered) -> str | None:
    return f"{delivered.width}x{delivered.height}" if delivered.width and delivered.height else None
