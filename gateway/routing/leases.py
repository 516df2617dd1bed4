"""Slots of deployments, shared by all gateways: leases and circuits in Redis, one script per verb.

A lease is taken at the first deployment that has room, before anything is held or sent, and given back when
the work there has ended; one whose gateway died lapses by itself. Invariant: while the store answers, leases
never pass a declared capacity, whoever asks. When it does not, a process goes by its own counts and says so.
Refuses to know budgets, prices and HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Protocol

from gateway.budgets.breaker import Breaker
from gateway.budgets.scripts import Script
from gateway.errors import LedgerUnavailable
from gateway.routing.circuits import NOTHING
from gateway.routing.fleet import Sight, told

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from redis.asyncio import Redis

    from gateway.routing.circuits import Sign
    from gateway.routing.fleet import Fleet
    from gateway.upstreams.deployments import Deployment, DeploymentSet
    from gateway.upstreams.rules import OutlierDetection

logger = logging.getLogger(__name__)

PREFIX = "eg:routing:{deployments}"
LEASE_S = 30.0
"""How long a lease outlives its gateway: short, because it is renewed while the work lasts."""
LOOK_S = 0.6
RENEWED_AT_ONCE = 500
MOST_WAITING = 256
"""More than these would ask the store so often that they are in its way."""
UNLIMITED = -1

_LUA = files("gateway.routing") / "lua"
_TAKE = Script.load("take", _LUA)
_LEAVE = Script.load("leave", _LUA)
_RENEW = Script.load("renew", _LUA)
_LOOK = Script.load("look", _LUA)


class Noted(Protocol):
    """Who is told what happens to deployments; every word is of a closed set or a configured id."""

    def lease(self, *, outcome: str) -> None: ...
    def circuit(self, *, deployment: str, happened: str, why: str) -> None: ...
    def fleet(self, fleet: Fleet) -> None: ...


@dataclass(frozen=True, slots=True)
class Taken:
    """`chosen` is the place of the deployment that has room, None when nobody has; `passed` says why others
    before it, or all, were passed over. `panic`: every candidate is ejected or paused, which was ignored."""

    chosen: int | None
    passed: dict[str, str] = field(default_factory=dict)
    panic: bool = False


@dataclass(slots=True)
class Leases:
    """The leases of one process; `fleet` is its view of everybody's."""

    redis: Redis
    fleet: Fleet
    noted: Noted
    timeout_ms: int
    lease_s: float = LEASE_S
    _held: set[tuple[str, str]] = field(default_factory=set)
    _leaving: set[asyncio.Task[None]] = field(default_factory=set)
    _waiting: int = 0
    _call: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self._call = Breaker(self.timeout_ms)

    def needed(self, deployment: Deployment) -> bool:
        """Whether the store has to be asked: not where any number may be sent and all is well."""
        state = self.fleet.sight(deployment).state_at(time.monotonic())
        return deployment.concurrency is not None or state != "closed"

    async def take(self, lease: str, candidates: Sequence[Deployment], *, panic: bool) -> Taken:
        """A lease at the first candidate that has room and may be asked; asked again it answers the same.

        With `panic`, ejections and pauses are ignored when they leave no candidate.
        """
        keys = [key for one in candidates for key in (_leases_key(one.id), _circuit_key(one.id))]
        limits = [UNLIMITED if one.concurrency is None else one.concurrency for one in candidates]
        try:
            async with self._call("take"):
                chosen, panicked, rows = await _TAKE.run(
                    self.redis, keys, [lease, int(self.lease_s * 1000), int(panic), *limits]
                )
        except LedgerUnavailable as error:
            logger.warning("capacity is counted by this gateway alone: %s", error)
            self.fleet.shared = False
            return self._taken_alone(lease, candidates, panic=panic)
        except asyncio.CancelledError:
            for one in candidates:  # it may have been given without our hearing of it
                self._later(self._gone(lease, one.id))
            raise
        now = time.monotonic()
        self.fleet.shared = True
        for one, row in zip(candidates, rows, strict=True):
            self.fleet.sights[one.id] = Sight.read(row, now)
        place = int(chosen) - 1 if chosen else None
        if place is not None:
            self._hold(lease, candidates[place])
        return self._told(candidates, place, now, panic=bool(panicked))

    def leave(
        self, lease: str, deployment: Deployment, sign: Sign, group: Sequence[str], rules: OutlierDetection
    ) -> None:
        """Gives a lease back, if there is one, and says how its attempt went; nobody has to wait for it.

        `group` are the ids of the deployments that do the same work.
        """
        had = self._forget(lease, deployment)
        sight = self.fleet.sight(deployment)
        news = sign.outcome == "failed" or sign.pause_s > 0
        better = sign.outcome == "ok" and (sight.failures > 0 or sight.state != "closed")
        if had or news or better:
            self._later(self._left(lease, deployment.id, sign, group, rules))

    def release(self, lease: str, deployment: Deployment) -> None:
        """Gives a lease back of which nothing came; twice is once."""
        if self._forget(lease, deployment):
            self._later(self._gone(lease, deployment.id))

    async def look(self, deployments: Sequence[Deployment]) -> None:
        """Brings the view up to date. Raises `LedgerUnavailable`."""
        if deployments:
            keys = [key for one in deployments for key in (_leases_key(one.id), _circuit_key(one.id))]
            async with self._call("look"):
                rows = await _LOOK.run(self.redis, keys, [])
            now = time.monotonic()
            self.fleet.sights = {
                one.id: Sight.read(row, now) for one, row in zip(deployments, rows, strict=True)
            }
        self.fleet.looked_at, self.fleet.shared = time.monotonic(), True

    async def watch(self, deployed: Callable[[], DeploymentSet]) -> None:
        """Runs for ever: looks often enough that the view is never older than a second."""
        while True:
            try:
                await self.look(deployed().deployments)
            except LedgerUnavailable:
                self.fleet.shared = False
            self.noted.fleet(self.fleet)
            await asyncio.sleep(LOOK_S * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load only

    async def renew(self) -> None:
        """Runs for ever: makes the leases of this process live on, and brings back those the store lost."""
        while True:
            await asyncio.sleep(self.lease_s / 3)
            try:
                await self.renew_once()
            except LedgerUnavailable as error:
                logger.warning("leases of deployments were not renewed: %s", error)

    async def renew_once(self) -> None:
        """One renewal of everything held. Raises `LedgerUnavailable`."""
        held = list(self._held)
        for first in range(0, len(held), RENEWED_AT_ONCE):
            batch = held[first : first + RENEWED_AT_ONCE]
            lost = await self._renewed(batch, bring_back=False)
            # What was given back meanwhile is not lost.
            lost = [one for one in lost if one in self._held]
            if lost:
                await self._renewed(lost, bring_back=True)
            for lease, deployment in lost:
                if (lease, deployment) not in self._held:  # given back while it was brought back
                    self._later(self._gone(lease, deployment))

    @contextmanager
    def queue(self) -> Iterator[bool]:
        """A place among those who wait for room; false where too many wait already."""
        admitted = self._waiting < MOST_WAITING
        self._waiting += admitted
        try:
            yield admitted
        finally:
            self._waiting -= admitted

    async def drain(self) -> None:
        """Waits until everything that was left is given back."""
        while self._leaving:
            await asyncio.wait(set(self._leaving))

    async def _renewed(self, batch: list[tuple[str, str]], *, bring_back: bool) -> list[tuple[str, str]]:
        ms = int(self.lease_s * 1000)
        async with self._call("renew"):
            lost = await _RENEW.run(
                self.redis,
                [_leases_key(deployment) for _, deployment in batch],
                [ms, int(bring_back), *(lease for lease, _ in batch)],
            )
        return [one for one in batch if one[0] in set(lost)]

    def _taken_alone(self, lease: str, candidates: Sequence[Deployment], *, panic: bool) -> Taken:
        """By this process's own counts and the last view of the circuits."""
        now = time.monotonic()
        open_ = [told(self.fleet.sight(one), now) is None for one in candidates]
        panic = panic and not any(open_)
        for place, one in enumerate(candidates):
            room = one.concurrency is None or self.fleet.own.get(one.id, 0) < one.concurrency
            if room and (open_[place] or panic):
                self._hold(lease, one)
                return self._told(candidates, place, now, panic=panic)
        return self._told(candidates, None, now, panic=panic)

    def _told(self, candidates: Sequence[Deployment], place: int | None, now: float, *, panic: bool) -> Taken:
        given = "taken" if self.fleet.shared else "unshared"
        self.noted.lease(outcome="busy" if place is None else given)
        passed = {
            one.id: told(self.fleet.sight(one), now) or self._full(one, now) for one in candidates[:place]
        }
        return Taken(place, passed, panic)

    def _full(self, deployment: Deployment, now: float) -> str:
        by = "all gateways" if self.fleet.shared else "this gateway"
        in_use = (
            self.fleet.sight(deployment).in_use if self.fleet.shared else self.fleet.in_use(deployment, now)
        )
        return f"no free slot: {in_use} of {deployment.concurrency} in use by {by}"

    def _hold(self, lease: str, deployment: Deployment) -> None:
        if (lease, deployment.id) not in self._held:
            self._held.add((lease, deployment.id))
            self.fleet.own[deployment.id] = self.fleet.own.get(deployment.id, 0) + 1

    def _forget(self, lease: str, deployment: Deployment) -> bool:
        if (lease, deployment.id) not in self._held:
            return False
        self._held.discard((lease, deployment.id))
        self.fleet.own[deployment.id] -= 1
        return True

    async def _left(
        self, lease: str, deployment: str, sign: Sign, group: Sequence[str], rules: OutlierDetection
    ) -> None:
        peers = [_circuit_key(one) for one in group if one != deployment]
        try:
            async with self._call("leave"):
                happened, row = await _LEAVE.run(
                    self.redis,
                    [_leases_key(deployment), _circuit_key(deployment), *peers],
                    [
                        lease,
                        sign.outcome,
                        int(sign.pause_s * 1000),
                        sign.why,
                        rules.consecutive_5xx,
                        int(rules.base_ejection_time_s * 1000),
                        int(rules.max_ejection_time_s * 1000),
                        int(rules.interval_s * 1000),
                        rules.most(len(peers) + 1),
                    ],
                )
        except LedgerUnavailable as error:
            logger.warning("a lease at %s is left to its end: %s", deployment, error)
            return
        self.fleet.sights[deployment] = Sight.read(row, time.monotonic())
        if happened:
            if happened != "paused":
                logger.warning("deployment %s: %s (%s)", deployment, happened, sign.why or "it is well again")
            self.noted.circuit(deployment=deployment, happened=str(happened), why=sign.why)

    async def _gone(self, lease: str, deployment: str) -> None:
        try:
            async with self._call("leave"):
                await _LEAVE.run(
                    self.redis,
                    [_leases_key(deployment), _circuit_key(deployment)],
                    [lease, NOTHING.outcome, 0, "", 1, 1, 1, 1, 0],
                )
        except LedgerUnavailable as error:
            logger.warning("a lease at %s is left to its end: %s", deployment, error)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def _leases_key(deployment: str) -> str:
    return f"{PREFIX}:leases:{deployment}"


def _circuit_key(deployment: str) -> str:
    return f"{PREFIX}:circuit:{deployment}"
