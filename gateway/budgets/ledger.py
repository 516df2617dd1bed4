"""The ledger: what every budget has spent and holds, in Redis.

A request reserves before it is sent, tells when it is sent, and settles what it took; a hold whose gateway
died ends by its lease. Each verb is one script (`lua/<verb>.lua`), decided by the store's clock and safe to
send again with the same hold id. Invariant: spent + held never passes a limit by a reserve. Refuses to know
policies, upstreams and HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from gateway.budgets import wire
from gateway.budgets.alerts import refusals_json, refusals_to_alert
from gateway.budgets.breaker import Breaker
from gateway.budgets.claims import Claim, Claims, Earlier
from gateway.budgets.presence import ARCHIVE_S, Presence
from gateway.budgets.raises import bring_back
from gateway.budgets.recovery import adopt, rebuild
from gateway.budgets.scripts import Script
from gateway.budgets.witness import Recovery, Unexplained, Witness
from gateway.errors import HoldGone, LedgerUnavailable, StoreError, WindowMoved
from gateway.store.keyspace import ORGS, journal_key, refusals_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redis.asyncio import Redis

    from gateway.budgets.amounts import Charge
    from gateway.budgets.counter import Counter, Shortfall
    from gateway.budgets.holds import Balance, Denied, Held, Settled
    from gateway.budgets.recovery import Archive, OpenHold

LONGEST_LEASE_S = 3600
RETENTION_S = 7200  # over ten times the longest upstream call, so no resend outlives its tombstone
REFUSALS_KEPT = 10_000
HOLDS_PER_RENEWAL = 500
DUE_PER_REFUSAL = 50
CLAIM_TRIES = 4
RECENT_MS = 300_000
"""How far back SQL is asked for endings that a store lost when another server took over."""

_log = logging.getLogger(__name__)

_RESERVE = Script.load("reserve")
_DISPATCH = Script.load("dispatch")
_RENEW = Script.load("renew")
_SETTLE = Script.load("settle")
_RELEASE = Script.load("release")
_EXPIRE = Script.load("expire")
_BALANCE = Script.load("balance")
_REFUSE = Script.load("refuse")
_PULSE = Script.load("pulse")
_RESTORE = Script.load("restore")


class Ledger:
    """The budgets' counters. Every method raises LedgerUnavailable when the store does not do it in time."""

    def __init__(
        self,
        redis: Redis,
        *,
        lease_s: int,
        timeout_ms: int,
        retention_s: int = RETENTION_S,
        archive: Archive | None = None,
        grace_ms: int = 0,
        trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`lease_s`: a hold lives that long without `renew`. `timeout_ms` bounds each call as a whole.

        `retention_s`: how long a finished hold still answers for itself. `redis` comes from
        `store.connection.connect`: it reads texts and never retries on its own. `archive` is SQL's memory,
        from which a ledger that the store lost is rebuilt; without it such an org stays refused. For
        `grace_ms` after another server took over nothing is admitted, so that every gateway can bring back
        what that server may lack. While `trouble` gives a reason nothing is admitted, and not as from a store
        that is away: so it is before the store was seen.
        """
        self._redis = redis
        self._call = Breaker(timeout_ms)
        self._archive = archive
        self._grace_ms = grace_ms
        self._trouble = trouble
        self._lease_ms = lease_s * 1000
        self._retention_ms = retention_s * 1000
        self._outlives_ms = (LONGEST_LEASE_S + retention_s) * 1000
        self._presence = Presence(redis, self._call, archive)
        self._witness = Witness(redis)
        self.claims = Claims(redis, self._call, archive)
        self._turn = 0

    async def reserve(
        self,
        org: str,
        hold_id: str,
        candidates: Sequence[Charge],
        counters: Sequence[Counter],
        record: str,
        *,
        policies: tuple[str, int] = ("", 0),
        claim: Claim | None = None,
    ) -> Held | Denied | Earlier:
        """Hold the first of `candidates` that fits every counter, or nothing.

        With a binding `claim` that another hold has, the answer is what became of that one, unless it surely
        did not run: then the claim is taken over.

        Called again with the same id and the same request it answers the same, so a reserve that timed out
        may be repeated; if it is given up instead, `release` makes sure that nothing stays held. `record` is
        journaled should the hold expire. Raises WindowMoved when the buckets are not those of the store's
        time, HoldGone when the hold has already ended, LedgerUnavailable when newer `policies` (their
        version and number, see `editions`) were in force, ValueError when the id belongs
        to another request or an amount is out of bounds.
        """
        wire.check_request(candidates, counters)
        names = wire.OrgKeys(org)
        claimed = [] if claim is None else [names.claim(claim.name)]
        keys = [names.meta, names.hold(hold_id), names.open_holds, *names.buckets(counters), *claimed]
        args: list[str | int] = [
            hold_id,
            self._lease_ms,
            self._outlives_ms,
            wire.fingerprint(candidates, counters),
            record,
            self._grace_ms,
            *policies,
        ]
        reason = self._trouble()
        if reason is not None:
            raise LedgerUnavailable(reason, asked=False)
        await self._presence.ensure(org)
        over = ""
        for _ in range(CLAIM_TRIES):
            request = wire.request_json(candidates, counters, claim, over=over)
            answer = await self._reserve(org, keys, [*args, request])
            if answer[0] != "claimed" or claim is None:
                return wire.read_reserved(answer, counters, org, hold_id)
            earlier = await self.claims.look(org, claim, answer[1], answer[2])
            if earlier.became != "free":
                return earlier
            over = earlier.hold
        raise LedgerUnavailable("reserve: other requests keep taking the same claim")

    async def _reserve(self, org: str, keys: list[str], args: list[str | int]) -> Any:
        async with self._call("reserve"):
            answer = await _RESERVE.run(self._redis, keys, args)
        if answer[0] == "denied" and answer[1][0] > 0 and await self._expire(org, DUE_PER_REFUSAL):
            async with self._call("reserve"):
                answer = await _RESERVE.run(self._redis, keys, args)
        if answer[0] == "no_ledger":
            self._presence.refuse(org)
        return answer

    async def dispatch(self, org: str, hold_id: str, record: str) -> None:
        """Tell that the work is about to be sent: awaited before the first byte goes upstream.

        From here on an expired hold is charged, and journaled with this `record`. Raises HoldGone when the
        hold is not open: send nothing.
        """
        names = wire.OrgKeys(org)
        async with self._call("dispatch"):
            answer = await _DISPATCH.run(
                self._redis, [names.hold(hold_id), names.open_holds], [hold_id, self._lease_ms, record]
            )
        if answer[0] != "sent":
            msg = f"hold {hold_id} is not open ({answer[1]})"
            raise HoldGone(msg)

    async def renew(self, holds: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Extend the leases of `(org, hold id)` pairs; answers those that are no longer open."""
        by_org: dict[str, list[str]] = {}
        for org, hold_id in holds:
            by_org.setdefault(org, []).append(hold_id)
        gone: list[tuple[str, str]] = []
        for org, hold_ids in by_org.items():
            for first in range(0, len(hold_ids), HOLDS_PER_RENEWAL):
                batch = hold_ids[first : first + HOLDS_PER_RENEWAL]
                async with self._call("renew"):
                    answer = await _RENEW.run(
                        self._redis, [wire.OrgKeys(org).open_holds], [self._lease_ms, *batch]
                    )
                gone += [(org, hold_id) for hold_id in answer]
        return gone

    async def settle(
        self,
        org: str,
        hold_id: str,
        charge: Charge,
        record: str,
        counters: Sequence[Counter] = (),
        *,
        known: bool = True,
    ) -> Settled:
        """Free the hold, charge what the work took and journal `record`; safe to repeat.

        Not `known` is a charge for work of which nobody knows whether it ran.
        `counters` are those of `Held`: they save a round trip, and they are charged in their `current`
        buckets (as `orphan`) should the store have lost the hold. Without them such a charge is journaled
        but counts against no budget. Raises ValueError when an amount is out of bounds.
        """
        wire.check_charge(charge)
        amounts = (wire.words(charge.central), wire.words(charge.high), record)
        postings = wire.OrgKeys(org).postings(counters)
        answer = await self._end(_SETTLE, org, hold_id, postings, amounts, known=known)
        return wire.read_settled(answer)

    async def release(self, org: str, hold_id: str, record: str, counters: Sequence[Counter] = ()) -> Settled:
        """Free the hold without a charge, because the work surely did not run; safe to repeat.

        A hold that is unknown can never be reserved afterwards. `counters` are those of `Held` and save a
        round trip.
        """
        postings = wire.OrgKeys(org).postings(counters)
        return wire.read_settled(await self._end(_RELEASE, org, hold_id, postings, (record,)))

    async def restore(self, hold: OpenHold) -> bool:
        """Bring back a hold of this gateway that the store lost; False when the store knows it."""
        names = wire.OrgKeys(hold.org)
        postings = names.postings(hold.counters)
        async with self._call("restore"):
            answer = await _RESTORE.run(
                self._redis,
                [names.hold(hold.hold), names.open_holds, names.meta, *(p.key for p in postings)],
                [
                    hold.hold,
                    self._lease_ms,
                    self._outlives_ms,
                    "1" if hold.sent else "0",
                    wire.words(hold.charge.central),
                    wire.words(hold.charge.high),
                    hold.record,
                    wire.postings_json(postings),
                ],
            )
        if answer[0] == "no_ledger":
            self._presence.refuse(hold.org)
        return bool(answer[0] == "restored")

    async def was_posted(self, org: str, hold_id: str) -> bool:
        """Whether SQL has an entry of a hold; the store forgets one that ended hours ago."""
        if self._archive is None:
            return False
        try:
            async with asyncio.timeout(ARCHIVE_S):
                return await self._archive.has_hold(org, hold_id)
        except (StoreError, OSError, TimeoutError) as error:
            msg = f"the database cannot say whether {hold_id} was charged: {error}"
            raise LedgerUnavailable(msg) from error

    async def adopt_endings(self, org: str) -> int:
        """Post to the counters the recent endings that SQL has and the store lost; answers how many.

        First SQL learns whose turn it is, so that it takes nothing more that was read from an earlier server.
        """
        if self._archive is None:
            return 0
        await self._presence.register(org)
        async with self._call("time"):
            seconds, _ = await self._redis.time()
        try:
            async with asyncio.timeout(ARCHIVE_S):
                await self._archive.supersede(org, self._presence.turn(org))
                endings = await self._archive.endings(org, int(seconds) * 1000 - RECENT_MS)
                return await adopt(self._redis, org, endings, (self._outlives_ms, self._retention_ms))
        except (StoreError, RedisError, RedisClusterException, OSError, TimeoutError) as error:
            msg = f"what SQL knows of org {org} could not be brought back: {error}"
            raise LedgerUnavailable(msg) from error

    def succession(self, org: str) -> tuple[str, str]:
        """The turns of the server before the last change (empty if not known), and of this one."""
        return self._presence.take_before(org), self._presence.turn(org)

    async def recovered(self, recovery: Recovery) -> Recovery:
        """Journal a recovery once everybody had time to bring back what they know; answers it with the rest.

        Unexplained is what this process saw held and what neither the store nor SQL knows now.
        """
        async with self._call("look"):
            missing = await self._witness.missing(recovery.org)
        gone = [
            Unexplained(hold, amounts)
            for hold, amounts in sorted(missing.items())
            if not await self.was_posted(recovery.org, hold)
        ]
        told = msgspec.structs.replace(recovery, unexplained=tuple(gone))
        async with self._call("look"):
            await self._witness.tell(told)
        return told

    async def rebuild_lost(self) -> int:
        """Rebuild from SQL the ledgers that the store was found to have lost; answers how many were."""
        rebuilt = 0
        for org in sorted(self._presence.lost):
            if self._archive is None:
                _log.error("the budget store lost the ledger of org %s; nothing can rebuild it here", org)
                continue
            try:
                times = (self._outlives_ms, self._retention_ms)
                rebuilt += await rebuild(self._redis, self._archive, org, times)
                seconds, _ = await self._redis.time()
                await bring_back(self._redis, await self._archive.grants(org), int(seconds) * 1000)
                self._presence.lost.discard(org)
                await self._presence.ensure(org)
            except (StoreError, RedisError, RedisClusterException, OSError) as error:
                _log.warning("the ledger of org %s is not rebuilt yet: %s", org, error)
        return rebuilt

    def take_changed(self) -> set[str]:
        """The orgs whose ledger came to another server or was rebuilt since the last call."""
        return self._presence.take_changed()

    async def expire_due(self, limit: int = 500) -> int:
        """End up to `limit` holds whose leases are over, in all orgs; answers how many ended.

        Also takes note of orgs whose ledger is lost or came to another server.

        Any number of processes may do this. The org with which it begins changes with every call, so that a
        busy one does not starve the others.
        """
        async with self._call("expire"):
            listed = {str(org) for org in await self._redis.smembers(ORGS)}
        await self._presence.recall(listed)
        orgs = sorted(listed | self._presence.orgs)
        self._turn += 1
        ended = 0
        for step in range(len(orgs)):
            org = orgs[(self._turn + step) % len(orgs)]
            ended += await self._expire(org, limit - ended)
            async with self._call("look"):
                await self._witness.look(org)
        return ended

    async def balances(self, org: str, counters: Sequence[Counter]) -> list[Balance]:
        """What each counter has spent and holds now. Raises WindowMoved like `reserve`."""
        if not counters:
            return []
        names = wire.OrgKeys(org)
        bounds = [
            number
            for counter in counters
            for both in [(counter.current, counter.next)]
            for number in (*(bound for one in both for bound in (one.start_ms, one.end_ms)), counter.trail)
        ]
        await self._presence.ensure(org)
        async with self._call("balance"):
            answer = await _BALANCE.run(self._redis, [names.meta, *names.buckets(counters)], bounds)
        if answer[0] == "no_ledger":
            self._presence.refuse(org)
        if answer[0] == "window":
            raise WindowMoved(answer[1])
        return [wire.read_balance(row, counter) for row, counter in zip(answer[1:], counters, strict=True)]

    async def refused(self, org: str, hold_id: str, record: str, rows: Sequence[Shortfall] = ()) -> None:
        """Keep the record of a refused request for review; the oldest are dropped when nobody reads them.

        `rows` are why: the first of a window that is no matter of holds is alerted.
        """
        await self._presence.ensure(org)
        names = wire.OrgKeys(org)
        first = refusals_to_alert(rows)
        buckets = [names.counter(row.counter, row.bucket) for row in first]
        keys = [refusals_key(org), names.alerts, names.alerted, *buckets]
        about = refusals_json(first, self._outlives_ms)
        async with self._call("refuse"):
            await _REFUSE.run(self._redis, keys, [hold_id, record, REFUSALS_KEPT, about])

    async def ping(self) -> None:
        """Raise LedgerUnavailable unless the store answers in time and may be used."""
        reason = self._trouble()
        if reason is not None:
            raise LedgerUnavailable(reason)
        async with self._call("ping"):
            await self._redis.ping()

    async def _end(
        self,
        script: Script,
        org: str,
        hold_id: str,
        postings: Sequence[wire.Posting],
        args: tuple[str, ...] = (),
        *,
        known: bool = True,
    ) -> Any:
        """Run a script that ends a hold, a second time with the hold's own counters if it names them."""
        names = wire.OrgKeys(org)
        await self._presence.ensure(org)
        async with self._call(script.verb):
            for _ in range(2):
                keys = [
                    names.hold(hold_id),
                    names.open_holds,
                    journal_key(org),
                    names.meta,
                    *(() if script is _RELEASE else (names.alerts, names.alerted)),
                    *(p.key for p in postings),
                ]
                tail = [wire.postings_json(postings), "1" if known else "0"] if script is _SETTLE else []
                answer = await script.run(
                    self._redis, keys, [hold_id, self._outlives_ms, self._retention_ms, *args, *tail]
                )
                if answer[0] == "no_ledger":
                    self._presence.refuse(org)
                if answer[0] != "keys":
                    return answer
                postings = wire.read_postings(answer[1])
        msg = f"{script.verb}: hold {hold_id} changed its counters between two calls"
        raise LedgerUnavailable(msg)

    async def _expire(self, org: str, limit: int) -> int:
        """Look at one org and end up to `limit` due holds, each within a deadline of its own."""
        names = wire.OrgKeys(org)
        async with self._call("pulse"):
            answer = await _PULSE.run(
                self._redis, [names.meta, names.open_holds], [self._grace_ms, max(0, limit)]
            )
        if answer[0] == "no_ledger":
            self._presence.lose(org)
            return 0
        self._presence.see(org, answer[1], answer[2])
        ended = 0
        for hold_id in map(str, answer[3]):
            try:
                answer = await self._end(_EXPIRE, org, hold_id, ())
            except LedgerUnavailable as error:
                if not isinstance(error.__cause__, ResponseError):
                    raise
                # One broken hold must not keep the others open.
                _log.exception("hold %s of org %s cannot be expired", hold_id, org)
                continue
            if answer[0] == "lost":
                _log.error("the budget store lost hold %s of org %s; what it held stays held", hold_id, org)
            ended += answer[0] in ("expire", "release")
        return ended
