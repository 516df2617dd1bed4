"""Claims: a request that was sent before is recognised by its hold, so that it is done and charged once.

A claim is a small record in the store that names a hold. `reserve` makes it in the same script as the hold;
what a later request with the same claim is told follows from the state of that hold, and from SQL when the
store has forgotten it. Invariant: nobody is admitted over a binding claim unless the work of its hold surely
did not run. Refuses to know what a claim's name was made from.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from gateway.budgets import wire
from gateway.budgets.amounts import Amounts
from gateway.budgets.presence import ARCHIVE_S
from gateway.budgets.scripts import Script
from gateway.errors import LedgerUnavailable, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from gateway.budgets.breaker import Breaker
    from gateway.budgets.recovery import Archive

_RECALL: Final = Script.load("recall")
_RECLAIM: Final = Script.load("reclaim")


@dataclass(frozen=True, slots=True)
class Claim:
    """What makes two requests the same. `name` and `fingerprint` are digests.

    A `binding` claim keeps every later request out; one that is not only says who was there before.
    """

    name: str
    fingerprint: str
    lives_s: int
    binding: bool = True


@dataclass(frozen=True, slots=True)
class Earlier:
    """The hold that has the claim: `other` when its request had another fingerprint.

    `free` means that its work surely did not run, `unknown` that nobody knows and it was charged. `central`
    is what was charged, by the central estimate, where that is at hand.
    """

    hold: str
    became: Literal["running", "charged", "unknown", "free", "other"]
    central: Amounts | None = None


class Claims:
    """Looks behind claims. Every method raises LedgerUnavailable when a store does not answer in time."""

    def __init__(self, redis: Redis, call: Breaker, archive: Archive | None) -> None:
        self._redis = redis
        self._call = call
        self._archive = archive

    async def earlier(self, org: str, claim: Claim) -> Earlier | None:
        """What became of the request that has a claim; None where a new one may have it."""
        async with self._call("recall"):
            hold, fingerprint = await self._redis.hmget(
                wire.OrgKeys(org).claim(claim.name), ["hold", "fingerprint"]
            )
        if hold is None:
            return None
        earlier = await self.look(org, claim, str(hold), str(fingerprint))
        return None if earlier.became == "free" else earlier

    async def look(self, org: str, claim: Claim, hold: str, fingerprint: str) -> Earlier:
        """What became of the hold that has the claim, made by a request with that fingerprint."""
        if fingerprint != claim.fingerprint:
            return Earlier(hold, "other")
        async with self._call("recall"):
            answer = await _RECALL.run(self._redis, [wire.OrgKeys(org).hold(hold)], [])
        match answer[0]:
            case "open":
                return Earlier(hold, "running")
            case "released":
                return Earlier(hold, "free")
            case "expired":
                return Earlier(hold, "unknown")
            case "charged" if answer[1] != "" or not any(_vector(answer[2])):
                return _charged(hold, _vector(answer[2]), known=answer[1] == "1")
            case _:
                return await self._archived(org, hold)

    async def bring_back(self, org: str, hold: str, claim: Claim) -> None:
        """Make the claim of a hold again, unless the store has one of that name."""
        async with self._call("reclaim"):
            await _RECLAIM.run(
                self._redis,
                [wire.OrgKeys(org).claim(claim.name)],
                [hold, claim.fingerprint, claim.lives_s * 1000],
            )

    async def _archived(self, org: str, hold: str) -> Earlier:
        """What SQL says; a hold that neither knows may have run."""
        if self._archive is None:
            return Earlier(hold, "unknown")
        try:
            async with asyncio.timeout(ARCHIVE_S):
                ended = await self._archive.ended(org, hold)
        except (StoreError, OSError, TimeoutError) as error:
            msg = f"the database cannot say what became of request {hold}: {error}"
            raise LedgerUnavailable(msg) from error
        if ended is None:
            return Earlier(hold, "unknown")
        return _charged(hold, ended.central, known=ended.known)


def _charged(hold: str, central: Sequence[int], *, known: bool) -> Earlier:
    if not any(central):  # a late release took the charge back
        return Earlier(hold, "free")
    return Earlier(hold, "charged" if known else "unknown", Amounts.of(central))


def _vector(text: str) -> list[int]:
    return [int(word) for word in text.split()]
