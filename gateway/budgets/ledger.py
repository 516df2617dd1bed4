"""The ledger: what every budget has spent and holds, in Redis.

A request reserves before it is sent, tells when it is sent, and settles what it took; a hold whose gateway
died ends by its lease. Each verb is one script (`lua/<verb>.lua`), decided by the store's clock and safe to
send again with the same hold id. Invariant: spent + held never passes a limit by a reserve. What becomes of
holds whose leases are over is `expiry`'s, of what the store lost `losses`'s. Refuses to know policies,
upstreams and HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.budgets import wire
from gateway.budgets.alerts import refusals_json, refusals_to_alert
from gateway.budgets.breaker import Breaker
from gateway.budgets.claims import Claim, Claims, Earlier
from gateway.budgets.closing import RELEASE, SETTLE, Closing
from gateway.budgets.expiry import Expiry
from gateway.budgets.lifetimes import RETENTION_S, Lifetimes
from gateway.budgets.losses import Losses
from gateway.budgets.moves import Moves
from gateway.budgets.presence import Presence
from gateway.budgets.scripts import Script
from gateway.budgets.witness import Witness
from gateway.errors import HoldGone, LedgerUnavailable, WindowMoved
from gateway.store.keyspace import refusals_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redis.asyncio import Redis

    from gateway.budgets.amounts import Charge
    from gateway.budgets.counter import Counter, Shortfall
    from gateway.budgets.holds import Balance, Denied, Held, Settled
    from gateway.budgets.recovery import Archive

REFUSALS_KEPT = 10_000
HOLDS_PER_RENEWAL = 500
DUE_PER_REFUSAL = 50
CLAIM_TRIES = 4

_RESERVE = Script.load("reserve")
_DISPATCH = Script.load("dispatch")
_RENEW = Script.load("renew")
_BALANCE = Script.load("balance")
_REFUSE = Script.load("refuse")


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
        what that server may lack; unless a slot of a cluster was moved, which loses nothing. While `trouble`
        gives a reason nothing is admitted, and not as from a store that is away: so it is before the store
        was seen.
        """
        self._redis = redis
        self._call = Breaker(timeout_ms)
        self._grace_ms = grace_ms
        self._trouble = trouble
        self._lifetimes = Lifetimes(lease_s, retention_s)
        self._presence = Presence(redis, self._call, archive)
        self._moves = Moves(redis, self._call)
        self._closing = Closing(redis, self._call, self._lifetimes, self._presence)
        witness = Witness(redis)
        self.claims = Claims(redis, self._call, archive)
        self.expiry = Expiry(redis, self._call, self._closing, self._presence, witness, grace_ms=grace_ms)
        self.losses = Losses(redis, self._call, self._lifetimes, archive, self._presence, witness)

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
            self._lifetimes.lease_ms,
            self._lifetimes.outlives_ms,
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
        if answer[0] == "grace" and await self._moves.spare_grace(org, answer[2]):
            async with self._call("reserve"):
                answer = await _RESERVE.run(self._redis, keys, args)
        if answer[0] == "denied" and answer[1][0] > 0 and await self.expiry.of(org, DUE_PER_REFUSAL):
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
                self._redis,
                [names.hold(hold_id), names.open_holds],
                [hold_id, self._lifetimes.lease_ms, record],
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
                        self._redis, [wire.OrgKeys(org).open_holds], [self._lifetimes.lease_ms, *batch]
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
        answer = await self._closing.run(SETTLE, org, hold_id, postings, amounts, known=known)
        return wire.read_settled(answer)

    async def release(self, org: str, hold_id: str, record: str, counters: Sequence[Counter] = ()) -> Settled:
        """Free the hold without a charge, because the work surely did not run; safe to repeat.

        A hold that is unknown can never be reserved afterwards. `counters` are those of `Held` and save a
        round trip.
        """
        postings = wire.OrgKeys(org).postings(counters)
        return wire.read_settled(await self._closing.run(RELEASE, org, hold_id, postings, (record,)))

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
        about = refusals_json(first, self._lifetimes.outlives_ms)
        async with self._call("refuse"):
            await _REFUSE.run(self._redis, keys, [hold_id, record, REFUSALS_KEPT, about])

    async def ping(self) -> None:
        """Raise LedgerUnavailable unless the store answers in time and may be used."""
        reason = self._trouble()
        if reason is not None:
            raise LedgerUnavailable(reason)
        async with self._call("ping"):
            await self._redis.ping()
