"""What is done with an answer that came: facts are read from it, the hold is settled, the client gets it.

A complete answer is settled before anything is sent, a stream at its end. Refuses to know how the answer was
got.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.budgets.amounts import NOTHING, to_settle
from gateway.budgets.refusal import tightest
from gateway.conversations.scans import stream_scan
from gateway.errors import OutcomeUnknown, Rejected
from gateway.images.answer import Delivered, UnreadableAnswer
from gateway.lifecycle import failures
from gateway.lifecycle.annotation import Annotator, ecogate_member
from gateway.lifecycle.ask import Ask, Served
from gateway.lifecycle.plan import Configuration, hold_of, settled_cost_usd, settled_footprint
from gateway.lifecycle.relay import Relay, broke_off, error_event, follow
from gateway.lifecycle.served_place import served_place
from gateway.upstreams.answers import UpstreamAnswer, UpstreamStream

if TYPE_CHECKING:
    from gateway.budgets.amounts import Charge
    from gateway.footprint.quantities import Footprint
    from gateway.images.event_stream import StreamScan
    from gateway.lifecycle.account import Account
    from gateway.lifecycle.story import Story
    from gateway.routing.rank import Route


@dataclass(slots=True)
class Delivery:
    """The second half of a life: `whole()`, or `begin()` and then `follow()`."""

    _ask: Ask
    _story: Story
    _account: Account
    _configuration: Configuration
    _heartbeat_s: float | None = None

    async def whole(self, route: Route, answer: UpstreamAnswer) -> Served:
        """Settles by what came back; an answer without images, or unreadable, is charged as held."""
        delivered, failure = answer.facts, answer.failure
        if failure is not None:
            return await self._error(route, answer, failure)
        if isinstance(delivered, UnreadableAnswer):
            answer.close()
            unusable = OutcomeUnknown(f"The image service's answer cannot be used: {delivered}.")
            await self._account.charge_as_held(route, outcome="unknown", status=502)
            raise failures.unknown(unusable) from delivered
        footprint = self._footprint(route, delivered, answer)
        if footprint is None:
            charge = await self._account.charge_as_held(route, outcome="no_images", status=answer.status)
            return self._served(route, answer, route.footprint, "estimate", charge)
        charge = await self._settle(route, delivered, footprint, answer.status)
        return self._served(route, answer, footprint, "settled", charge)

    def begin(self, route: Route, stream: UpstreamStream) -> Served:
        """The head of a stream, with the estimate; `follow()` sees to the rest."""
        served = self._served(route, stream, route.footprint, "estimate", hold_of(route))
        served.relay = Relay(self._ask.gone)
        return served

    async def follow(self, served: Served) -> None:
        """Relays a stream and settles by what came of it.

        What broke off, or was left by its client, before every image was complete is charged as held.
        """
        stream, relay, route = served.answer, served.relay, served.route
        scan = stream_scan(self._ask.request.route)
        events = scan.events
        assert isinstance(stream, UpstreamStream), "only a stream is followed"  # noqa: S101
        assert relay is not None, "a stream has a relay"  # noqa: S101
        outcome, error = "delivered", None
        annotator = self._annotator(route, scan, stream) if self._ask.include_footprint else None
        finish = route.deployment.on_disconnect == "finish"
        try:
            ending = await follow(
                stream, relay, scan, finish=finish, amend=annotator, heartbeat_s=self._heartbeat_s
            )
            if ending == "client_gone":
                outcome = "client_gone"
            elif not events.whole() and not events.failed:
                outcome, error = "unknown", broke_off()
        except OutcomeUnknown as failure:
            outcome, error = "unknown", failures.unknown(failure)
        delivered = events.delivered()
        came = events.ended(self._ask.request.n) or (outcome == "delivered" and not events.failed)
        footprint = self._footprint(route, delivered, stream) if came else None
        if footprint is not None:
            await self._settle(route, delivered, footprint, stream.status)
        else:
            outcome = "unknown" if events.failed else "no_images" if came else outcome
            await self._account.charge_as_held(route, outcome=outcome, status=stream.status)
        error = None if came else error
        if outcome != "client_gone":
            if annotator is not None:
                await relay.put(annotator.held)
            if error is not None and scan.between_events:
                await relay.put(error_event(error))
        await relay.end(complete=error is None)

    async def _error(
        self, route: Route, answer: UpstreamAnswer, failure: Rejected | OutcomeUnknown
    ) -> Served:
        """An error under a status of success goes on as it came; only one that refuses is not charged."""
        if isinstance(failure, Rejected):
            await self._account.release(route, outcome="rejected", status=answer.status)
            served = self._served(route, answer, None, "estimate", NOTHING)
        else:
            charge = await self._account.charge_as_held(route, outcome="unknown", status=answer.status)
            served = self._served(route, answer, route.footprint, "estimate", charge)
        served.failed, served.member = True, None
        return served

    async def _settle(self, route: Route, delivered: Delivered, footprint: Footprint, status: int) -> Charge:
        charge = to_settle(footprint, settled_cost_usd(route, delivered))
        await self._account.settle(
            charge,
            route,
            footprint,
            basis="settled",
            outcome="delivered",
            status=status,
            images=delivered.images,
            size=_size(delivered),
            usage=delivered.usage,
            usage_basis="reported" if delivered.says_what_it_took else "estimated",
        )
        return charge

    def _footprint(
        self, route: Route, delivered: Delivered, answer: UpstreamAnswer | UpstreamStream
    ) -> Footprint | None:
        """What came back, priced where it was made; the story is told where that was."""
        factors, rules = self._configuration.factors, self._configuration.deployments.rules
        place = served_place(route, answer.headers, factors, rules.residency)
        self._story.served = place
        there = place.site if place is not None else None
        return settled_footprint(self._configuration, self._story.plan, route, delivered, there)

    def _annotator(self, route: Route, scan: StreamScan, stream: UpstreamStream) -> Annotator:
        """Adds the footprint of what came so far, which is the settled one with the last image."""

        def member() -> bytes:
            footprint = self._footprint(route, scan.events.delivered(), stream)
            ended = footprint is not None and scan.events.ended(self._ask.request.n)
            basis = "settled" if ended else "estimate"
            return ecogate_member(self._ask.id, route, footprint or route.footprint, basis)

        return Annotator(member)

    def _served(
        self,
        route: Route,
        answer: UpstreamAnswer | UpstreamStream,
        footprint: Footprint | None,
        basis: str,
        charge: Charge,
    ) -> Served:
        served = Served(
            answer=answer,
            route=route,
            footprint=footprint,
            basis=basis,
            decision=self._story.decision,
            remaining=tightest(self._story.matched, self._account.left(charge), self._ask.subject),
            warnings=[*(footprint.warnings if footprint is not None else ()), *self._story.notices],
        )
        if self._story.reroute is not None:
            served.rerouted = "from={from}, to={to}".format_map(self._story.reroute)
            if "model" in self._story.reroute:
                served.rerouted += f", model={self._story.reroute['model']['got']}"
        if self._story.downgrade is not None:
            changes = self._story.downgrade.items()
            served.downgraded = ", ".join(f"{name}={values['got']}" for name, values in changes)
        if self._ask.include_footprint and footprint is not None:
            served.member = ecogate_member(self._ask.id, route, footprint, basis)
        return served


def _size(delivered: Delivered) -> str | None:
    return f"{delivered.width}x{delivered.height}" if delivered.width and delivered.height else None
