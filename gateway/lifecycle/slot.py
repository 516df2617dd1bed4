"""The slot of one request: the place that it has at a deployment while it waits for images there.

Taken before anything is held, so that a request for which nobody has room holds nothing; moved when another
deployment is asked; given back however the request ends. Refuses to know budgets and how requests are sent.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.errors import Unavailable
from gateway.lifecycle.failures import BUSY_RETRY_S, spread
from gateway.lifecycle.seen import kind
from gateway.routing.circuits import NOTHING
from gateway.routing.leases import Taken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.lifecycle.ask import Ask
    from gateway.lifecycle.plan import Plan
    from gateway.routing.circuits import Sign
    from gateway.routing.latency import Latencies
    from gateway.routing.leases import Leases
    from gateway.routing.rank import Route
    from gateway.upstreams.deployments import Deployment, DeploymentSet

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5


class Slot:
    """Make it, `take()` a plan's best place, ask whether it is `at()` each route, say how each attempt
    `ended()`, and `leave()`."""

    def __init__(self, ask: Ask, deployed: DeploymentSet, leases: Leases, latencies: Latencies) -> None:
        self._ask = ask
        self._latencies = latencies
        self._deployed = deployed
        self._leases = leases
        self._moves = 0
        self._place: tuple[str, Deployment] | None = None
        self._passed: dict[str, str] = {}
        self._panic = False

    async def take(self, plan: Plan, *, before_waiting: Callable[[], Awaitable[None]]) -> Plan:
        """The plan with the first deployment that has room in front; waits shortly where nobody has.

        `before_waiting` is called once where nobody has room, and raises where waiting is in vain. Raises
        `Unavailable` when nobody has room in time; then no slot is held.
        """
        until = time.monotonic() + self._patience_s()
        pause_s, waits = FIRST_PAUSE_S, False
        while True:
            taken = await self._first(plan.routes, panic=True)
            if taken.chosen is not None:
                self._passed, self._panic = taken.passed, taken.panic
                return self.applied(plan)
            if not waits:
                await before_waiting()
                waits = True
            left_s = until - time.monotonic()
            if left_s <= 0 or self._ask.gone.is_set():
                raise _busy(taken)
            with self._leases.queue() as admitted:
                if not admitted:
                    raise _busy(taken)
                await asyncio.sleep(min(left_s, pause_s * random.uniform(0.5, 1.5)))  # noqa: S311
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def applied(self, plan: Plan) -> Plan:
        """A plan, of this request or a lighter form of it, in the light of what was found when the slot was
        taken: who has it goes first, who was passed over comes last and says why."""
        if not self._passed and not self._panic:
            return plan
        routes = [route for route in plan.routes if route.deployment.id not in self._passed]
        late = [self._passed_over(route) for route in plan.routes if route.deployment.id in self._passed]
        shown = [*routes, *late, *(route for route in plan.ranking.routes if route.rejected)]
        ranking = replace(plan.ranking, routes=shown, panic=plan.ranking.panic or self._panic)
        return plan.ordered([*routes, *late], ranking)

    async def at(self, route: Route) -> bool:
        """Whether the request may be sent there: it has its slot, needs none, or gets one now."""
        if self._place is not None and self._place[1].id == route.deployment.id:
            return True
        self.leave()
        self._moves += 1
        # A route that is usable although it is ejected is one of a group in which everybody is.
        panic = self._panic or route.candidate.left_out is not None
        return (await self._first([route], panic=panic)).chosen is not None

    def ended(self, route: Route, sign: Sign) -> None:
        """The work at a route is over; `sign` is what it says about the deployment."""
        lease = self._place[0] if self._place is not None else f"{self._ask.id}:{self._moves}"
        self._place = None
        deployment = route.deployment
        group = {one.id for model in deployment.models for one in self._deployed.serving(model)}
        rules = self._deployed.rules.outlier_detection
        self._leases.leave(lease, deployment, sign, sorted(group), rules)

    def measured(self, route: Route, seconds: float) -> None:
        """An answer from there began to come after so long, or had not come when nobody waited any more."""
        self._latencies.learn(route.deployment.id, kind(self._ask.request), seconds)

    def leave(self) -> None:
        """Gives back what is still taken, of which nothing came."""
        if self._place is not None:
            lease, deployment = self._place
            self._place = None
            self._leases.leave(lease, deployment, NOTHING, (), self._deployed.rules.outlier_detection)

    async def _first(self, routes: list[Route], *, panic: bool) -> Taken:
        """A slot at the first route that has one. What lies behind one that needs none is not asked for."""
        asked: list[Deployment] = []
        for route in routes:
            asked.append(route.deployment)
            if not self._leases.needed(route.deployment):
                break
        if len(asked) == 1 and not self._leases.needed(asked[0]):
            return Taken(0)
        lease = f"{self._ask.id}:{self._moves}"
        taken = await self._leases.take(lease, asked, panic=panic)
        if taken.chosen is not None:
            self._place = (lease, asked[taken.chosen])
        return taken

    def _patience_s(self) -> float:
        """How long to wait for room: never beyond what the client waits for."""
        queue_s, left_s = self._deployed.rules.queue_s, self._ask.left_s()
        return queue_s if left_s is None else min(queue_s, left_s)

    def _passed_over(self, route: Route) -> Route:
        return replace(route, reason=f"passed over: {self._passed[route.deployment.id]}", rejected=True)


def _busy(taken: Taken) -> Unavailable:
    """503 with a moment to come back that differs between clients, so that they do not all come at once."""
    reasons = sorted(set(taken.passed.values()))
    return Unavailable(
        f"Every deployment of this model is busy: {'; '.join(reasons)}. Nothing was charged.",
        code="deployments_busy",
        headers={"retry-after": spread(BUSY_RETRY_S)},
    )
