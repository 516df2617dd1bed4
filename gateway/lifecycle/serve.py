"""Serves image requests: one life per request, each a task of its own.

Neither a client's hang-up nor a cancelled handler can stop a life between its hold and its settlement.
Refuses to know HTTP frameworks: it takes a request that was read and gives back what to answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.errors import (
    ApiError,
    BudgetExceeded,
    InvalidRequest,
    NotFound,
    Repeated,
    Unavailable,
    UpstreamAnswered,
)
from gateway.lifecycle.ask import ClientGone
from gateway.lifecycle.lanes import Lanes
from gateway.lifecycle.life import Life
from gateway.lifecycle.plan import Plan, make_plan
from gateway.lifecycle.seen import Seen, kind
from gateway.lifecycle.slot import Slot
from gateway.routing.grid import Grid
from gateway.routing.latency import Latencies
from gateway.routing.retries import RetryBudget
from gateway.telemetry import names
from gateway.upstreams.answers import UpstreamAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.budgets.ledger import Ledger
    from gateway.budgets.rates import Rates
    from gateway.identity.subject import Subject
    from gateway.images.request import ImageRequest
    from gateway.lifecycle.ask import Ask, Served
    from gateway.lifecycle.lanes import Place
    from gateway.lifecycle.plan import Configuration
    from gateway.lifecycle.repeats import Repeats
    from gateway.lifecycle.settlement import Settlements
    from gateway.routing.leases import Leases
    from gateway.telemetry import Telemetry
    from gateway.upstreams.client import Upstreams

logger = logging.getLogger(__name__)

FLUSH_S = 0.1
POSTING_S = 5.0
OUTCOMES: dict[type[ApiError], str] = {
    BudgetExceeded: "refused",
    Repeated: "repeated",
    InvalidRequest: "invalid",
    NotFound: "invalid",
    Unavailable: "unavailable",
    UpstreamAnswered: "upstream_error",
}


@dataclass(slots=True)
class Images:
    """Everything that a life needs; one per process. `configuration` gives the snapshot in force."""

    configuration: Callable[[], Configuration]
    ledger: Ledger
    settlements: Settlements
    upstreams: Upstreams
    telemetry: Telemetry
    max_answer_bytes_per_image: int
    max_edit_json_bytes: int
    repeats: Repeats
    rates: Rates
    leases: Leases
    stream_heartbeat_s: float | None = None
    retries: RetryBudget = field(default_factory=RetryBudget)
    latencies: Latencies = field(default_factory=Latencies)
    grid: Grid = field(default_factory=Grid)
    lanes: Lanes = field(default_factory=Lanes)
    _lives: set[asyncio.Task[Served]] = field(default_factory=set)

    def plan(
        self,
        configuration: Configuration,
        subject: Subject,
        request: ImageRequest,
        *,
        to: str | None = None,
        left_s: float | None = None,
    ) -> Plan:
        """What the request would cost, where or at `to`; the same for a dry run and for a real request, but
        for how long the client still waits."""
        return make_plan(
            configuration,
            subject,
            request,
            seen=Seen(self.leases.fleet, self.latencies, kind(request), time.monotonic(), left_s),
            grid=self.grid,
            now_s=time.time(),
            to=to,
        )

    async def serve(self, ask: Ask) -> Served:
        """The answer to a request: after its settlement, or a stream as soon as it begins.

        Raises `ApiError` for every answer without images and `ClientGone` when nobody waits any more. When
        the caller is cancelled the life goes on by itself.
        """
        ready: asyncio.Future[Served] = asyncio.get_running_loop().create_future()
        life = asyncio.create_task(self._live(ask, ready))
        self._lives.add(life)
        life.add_done_callback(self._ended)
        try:
            await asyncio.wait({life, ready}, return_when=asyncio.FIRST_COMPLETED)
            return await (ready if ready.done() else asyncio.shield(life))
        except asyncio.CancelledError:
            life.add_done_callback(_unread)
            raise
        finally:
            # An error of the life's has this frame in its traceback: the two would keep each other, and all
            # of the request, for the garbage collector, which stops the process for a second over a crowd.
            del life

    async def drain(self, timeout_s: float) -> None:
        """Waits for the lives in flight, `timeout_s` seconds at most, then shortly for queued settlements.

        What the ledger does not take by then is on disk, and the next process posts it.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._lives:
                    await asyncio.wait(set(self._lives))
                await self.leases.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(timeout_s, POSTING_S)):
                while self.settlements.waiting:
                    await self.settlements.flush()
                    await asyncio.sleep(FLUSH_S)

    async def _live(self, ask: Ask, ready: asyncio.Future[Served]) -> Served:
        model, outcome, status = "other", "error", 500
        place = self.lanes.place(ask.subject.key)
        try:
            await place.take()
            configuration = self.configuration()
            with self.telemetry.tracing.span(names.SPAN_ROUTE) as span:
                plan = self.plan(configuration, ask.subject, ask.request, left_s=ask.left_s())
                model = ask.request.model
                ranking = [route.deployment.id for route in plan.ranking.routes]
                span.set_attributes({names.CANDIDATES: ranking, names.BECAUSE: plan.routes[0].reason})
                span.set_attributes(_grid_attributes(plan))
            served = await self._lived(ask, plan, configuration, place, ready)
        except ApiError as error:
            outcome, status = OUTCOMES.get(type(error), "error"), error.status
            raise
        except ClientGone:
            outcome, status = "client_gone", 499
            raise
        else:
            outcome = "upstream_error" if served.failed else "delivered"
            status = served.answer.status
            return served
        finally:
            place.leave()
            ask.request.close()
            duration_s = time.monotonic() - ask.started
            self.telemetry.metrics.answered(
                route=ask.request.route, model=model, outcome=outcome, status=status, duration_s=duration_s
            )

    async def _lived(
        self,
        ask: Ask,
        plan: Plan,
        configuration: Configuration,
        place: Place,
        ready: asyncio.Future[Served],
    ) -> Served:
        self.retries.earn()
        life = Life(
            ask,
            plan,
            configuration,
            ledger=self.ledger,
            settlements=self.settlements,
            upstreams=self.upstreams,
            telemetry=self.telemetry,
            max_answer_bytes_per_image=self.max_answer_bytes_per_image,
            stream_heartbeat_s=self.stream_heartbeat_s,
            planner=lambda request, *, to=None: self.plan(
                configuration, ask.subject, request, to=to, left_s=ask.left_s()
            ),
            slot=Slot(ask, configuration.deployments, self.leases, self.latencies),
            retries=self.retries,
        )
        try:
            await life.reserve()
            place.leave()
            served = await life.send()
            if served.relay is not None:
                ready.set_result(served)
                await life.follow(served)
            return served
        finally:
            try:
                await life.abandon()
            finally:
                self.settlements.left(ask.id)

    def _ended(self, life: asyncio.Task[Served]) -> None:
        self._lives.discard(life)
        if not life.cancelled() and not isinstance(life.exception(), ApiError | ClientGone | None):
            logger.error("a request ended with an unexpected error", exc_info=life.exception())


def _unread(life: asyncio.Task[Served]) -> None:
    """Closes an answer that nobody takes; a stream's life closes it itself."""
    if not life.cancelled() and life.exception() is None:
        answer = life.result().answer
        if isinstance(answer, UpstreamAnswer):
            answer.close()


def _grid_attributes(plan: Plan) -> dict[str, str | int | float]:
    """What a choice went by, and what it avoids against an even spread (negative where it causes more)."""
    attributes: dict[str, str | int | float] = {names.OBJECTIVE: plan.ranking.objective}
    if plan.ranking.instead is not None:
        attributes[names.AVOIDED] = plan.ranking.instead.even_spread.avoided_carbon_g
    intensity = plan.routes[0].candidate.intensity
    if intensity is not None:
        attributes |= {names.SIGNAL: intensity.quality, names.SIGNAL_SOURCE: intensity.source}
        if intensity.age_h is not None:
            attributes[names.SIGNAL_AGE] = intensity.age_h
    return attributes
