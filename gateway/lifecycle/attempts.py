"""The attempts of one request: asking one deployment, and what its answer or its failure says about it.

Each attempt has its span, its line in the record and its word on the circuit. Refuses to know holds and
charges, and whether there is another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import DeadlinePassed, OutcomeUnknown, UpstreamFailure
from gateway.lifecycle import failures
from gateway.lifecycle.ask import ClientGone
from gateway.routing.circuits import NOTHING, WELL, Sign, sign_of
from gateway.telemetry import names, tracing
from gateway.upstreams.answers import UpstreamAnswer, UpstreamStream
from gateway.usage.record import Attempt

if TYPE_CHECKING:
    from gateway.lifecycle.ask import Ask
    from gateway.lifecycle.slot import Slot
    from gateway.lifecycle.story import Story
    from gateway.routing.rank import Route
    from gateway.telemetry import Telemetry
    from gateway.upstreams.client import Upstreams


@dataclass(frozen=True, slots=True)
class Attempts:
    """How a life asks deployments, one after the other."""

    _ask: Ask
    _story: Story
    _slot: Slot
    _upstreams: Upstreams
    _telemetry: Telemetry
    _max_answer_bytes_per_image: int

    async def at(self, route: Route, number: int) -> UpstreamAnswer | UpstreamStream:
        """The answer, or a stream that begins. Raises UpstreamFailure, and ClientGone where nobody waits."""
        deployment, request = route.deployment, self._ask.request
        attributes = {
            names.OPERATION: names.OPERATION_IMAGES,
            names.OUTPUT_TYPE: "image",
            names.REQUEST_MODEL: deployment.footprint_model(request.model),
            names.REQUEST_COUNT: route.footprint.images,
            names.PROVIDER: deployment.location.provider,
            names.DEPLOYMENT: deployment.id,
            names.ZONE: route.footprint.zone,
            names.ATTEMPT: number,
        }
        started = time.monotonic()
        outcome, status = "unknown", None
        sign: Sign | None = NOTHING
        late = False
        with self._telemetry.tracing.span(
            f"{names.SPAN_UPSTREAM} {request.model}", attributes, client=True
        ) as span:
            try:
                answer = await self._unless_gone(route)
                outcome, status, sign = "delivered", answer.status, WELL
            except UpstreamFailure as failure:
                outcome, status, sign = failures.outcome_of(failure), failure.status, sign_of(failure)
                late = isinstance(failure, OutcomeUnknown) and failure.timed_out
                self._telemetry.metrics.attempt_failed(deployment=deployment.id, outcome=outcome)
                tracing.failed(span, outcome)
                raise
            except ClientGone:
                outcome = "client_gone"
                tracing.failed(span, outcome)
                raise
            else:
                told = answer.failure if isinstance(answer, UpstreamAnswer) else None
                if isinstance(answer, UpstreamStream):
                    sign = None  # it goes on
                if told is not None:
                    outcome, sign = failures.outcome_of(told), sign_of(told)
                    self._telemetry.metrics.attempt_failed(deployment=deployment.id, outcome=outcome)
                    tracing.failed(span, outcome)
                return answer
            finally:
                if outcome == "delivered" or late:
                    self._slot.measured(route, time.monotonic() - started)
                if sign is not None:
                    self._slot.ended(route, sign)
                span.set_attribute(names.OUTCOME, outcome)
                if status is not None:
                    span.set_attribute(names.HTTP_STATUS, status)
                duration_ms = round((time.monotonic() - started) * 1000, 1)
                self._story.attempts.append(Attempt(deployment.id, outcome, status, duration_ms))

    async def _unless_gone(self, route: Route) -> UpstreamAnswer | UpstreamStream:
        """The answer, or `ClientGone` as soon as the client hangs up, if the deployment wants that."""
        sending = asyncio.ensure_future(
            self._upstreams.to(route.deployment).send(
                self._ask.request,
                trace_headers=self._telemetry.tracing.trace_headers(),
                max_answer_bytes=self._max_answer_bytes(route),
            )
        )
        finish = route.deployment.on_disconnect == "finish"
        leaving = asyncio.ensure_future(self._ask.gone.wait())
        waited_for = {sending} if finish else {sending, leaving}
        try:
            await asyncio.wait(waited_for, timeout=self._ask.left_s(), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                return await sending
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, UpstreamFailure):
                await _closed(await sending)
            if leaving.done():
                raise ClientGone
            raise DeadlinePassed
        finally:
            leaving.cancel()
            sending.cancel()

    def _max_answer_bytes(self, route: Route) -> int:
        """A conversation that is streamed repeats its pictures at the end; one without any is small."""
        request = self._ask.request
        times = 2 if request.stream and request.text is not None else 1
        return self._max_answer_bytes_per_image * max(1, route.footprint.images) * times


async def _closed(answer: UpstreamAnswer | UpstreamStream) -> None:
    if isinstance(answer, UpstreamStream):
        await answer.close()
    else:
        answer.close()
