"""Brings back what the store lost: a whole ledger from SQL, single endings, and holds that are still open.

Invariant: a ledger that once existed is opened again only with the sums that SQL knows, by one process at a
time; an ending that SQL has is never posted twice. Refuses to know SQL itself: it asks an `Archive`.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from redis.exceptions import RedisClusterException, RedisError

from gateway.budgets import wire
from gateway.budgets.amounts import FIGURES
from gateway.budgets.audit import Sums, expected
from gateway.budgets.scripts import Script
from gateway.errors import LedgerUnavailable
from gateway.store.keyspace import org_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Sequence

    from redis.asyncio import Redis

    from gateway.budgets.amounts import Charge
    from gateway.budgets.claims import Claim
    from gateway.budgets.counter import Counter
    from gateway.budgets.lifetimes import Lifetimes

FENCE_MS = 15_000
"""A fence stands so long behind a process that died; one that lives renews its own."""
RENEWALS = 3
"""In the time of a fence, so that it outlasts some that fail."""
ENTRIES_IN_HAND_S: Final = 1.0
"""So long a consumer may hold entries that left Redis and are not yet in SQL."""
GRACE_MS: Final = 2_000
LONGEST_WINDOW_MS: Final = 400 * 86_400_000
COUNTERS_PER_CALL: Final = 100
ADOPTIONS_PER_BATCH: Final = 500

_ADOPT = Script.load("adopt")
_FENCE = Script.load("fence")
_REBUILD = Script.load("rebuild")

_log = logging.getLogger(__name__)


class Ending(Protocol):
    """How a hold ended, as SQL has it: what all its entries posted, and to which counters."""

    @property
    def hold(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def central(self) -> Sequence[int]: ...
    @property
    def high(self) -> Sequence[int]: ...
    @property
    def counters(self) -> Sequence[tuple[str, int, str]]:
        """Counter id, bucket start (UTC epoch ms) and bound of each."""


class Ended(Protocol):
    """What SQL says of one request: what all of its entries posted."""

    @property
    def central(self) -> Sequence[int]: ...
    @property
    def known(self) -> bool:
        """Whether it is known what came of the work."""


class Archive(Sums, Protocol):
    """The SQL side, see `usage.archive.Archive`."""

    async def begin(self, org: str, epoch: str) -> bool:
        """Remember that the org has a ledger; False when that was known before."""

    async def grants(self, org: str) -> Sequence[str]:
        """Every raise of the org as it was journaled last."""

    async def rebuilt(self, org: str, epoch: str) -> None:
        """Remember that the ledger was rebuilt."""

    async def begun(self) -> Collection[str]:
        """Every org that has a ledger."""

    async def turn(self, org: str) -> str | None:
        """The turn of the server to which everything was brought that SQL knows; None when there was none."""

    async def supersede(self, org: str, turn: str) -> None:
        """From now on take no entry that was read in an earlier turn: another server keeps the ledger."""

    async def endings(self, org: str, since_ms: int) -> Sequence[Ending]:
        """Every hold of which an entry was written since (UTC epoch ms)."""

    async def newest_ms(self, org: str, *, before_ms: int, but: int = 0) -> int | None:
        """When the newest of the entries before a moment was written, or the newest but so many."""

    async def ended(self, org: str, request_id: str) -> Ended | None:
        """How a request ended; None when no entry of it is known."""

    async def has_hold(self, org: str, hold: str) -> bool:
        """Whether an entry of the hold is known."""


@dataclass(frozen=True, slots=True)
class OpenHold:
    """An open hold as its gateway knows it: enough to bring it back."""

    org: str
    hold: str
    charge: Charge
    counters: tuple[Counter, ...]
    record: str
    sent: bool = False
    claim: Claim | None = None


async def adopt(redis: Redis, org: str, endings: Iterable[Ending], lifetimes: Lifetimes) -> int:
    """Post to the counters what SQL has and the store lost; answers how many endings that were."""
    return await _adopt(redis, org, list(endings), lifetimes, move=True)


async def rebuild(redis: Redis, archive: Archive, org: str, lifetimes: Lifetimes, *, process: str) -> bool:
    """Rebuild a lost ledger from SQL and what is left in Redis; False when another process does it.

    `process` names this one, which takes over its own fence when an earlier attempt broke off; what that one
    sent may still arrive and finds the fence changed.
    Raises what Redis and SQL raise, LedgerUnavailable when the fence was lost on the way. Nothing is admitted
    or settled for the org until the end, and nothing admitted for `GRACE_MS` after it.
    """
    fence, token = org_key(org, "fence"), f"{process}:{uuid.uuid4().hex}"
    if not await redis.set(fence, token, nx=True, px=FENCE_MS):
        holder = await redis.get(fence)
        if holder is None or not str(holder).startswith(f"{process}:"):
            return False
        await redis.set(fence, token, px=FENCE_MS)
    async with _kept(redis, fence, token):
        return await _rebuild(redis, archive, org, lifetimes, token)


@asynccontextmanager
async def _kept(redis: Redis, fence: str, token: str) -> AsyncIterator[None]:
    """The fence stands for as long as the block takes: SQL may sum up millions of entries behind it."""
    keeping = asyncio.create_task(_keep(redis, fence, token))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        if not keeping.cancelled():
            keeping.result()


async def _keep(redis: Redis, fence: str, token: str) -> None:
    answer = ["kept"]
    while answer[0] == "kept":
        await asyncio.sleep(FENCE_MS / 1000 / RENEWALS)
        try:
            answer = await _FENCE.run(redis, [fence], [token, FENCE_MS])
        except (RedisError, RedisClusterException, OSError) as error:
            _log.warning("a fence was not renewed: %s", error)


async def _rebuild(redis: Redis, archive: Archive, org: str, lifetimes: Lifetimes, token: str) -> bool:
    """What `rebuild` does behind the fence with its `token`."""
    names, fence, epoch = wire.OrgKeys(org), org_key(org, "fence"), uuid.uuid4().hex
    if await redis.hexists(names.meta, "epoch"):
        # Another process was faster: a turn that SQL hears of now would be none that a server has.
        await redis.delete(fence)
        return False
    await asyncio.sleep(ENTRIES_IN_HAND_S)
    now_ms = await _now_ms(redis)
    known = await archive.turn(org)
    turn = turn_at(now_ms if known is None else max(now_ms, began_ms(known) + 1))
    await archive.supersede(org, turn)
    newest_ms = await archive.newest_ms(org, before_ms=now_ms)
    endings = await archive.endings(org, (newest_ms or now_ms) - lifetimes.retention_ms)
    await _adopt(redis, org, list(endings), lifetimes, move=False)
    spent, held, labels = await expected(redis, archive, org)
    newest: dict[str, int] = {}
    for counter_id, start_ms in labels.values():
        newest[counter_id] = max(start_ms, newest.get(counter_id, 0))
    # Windows that ended long ago need no counter; the last one and what is held may still be asked for.
    keys = sorted(
        key
        for key, (counter_id, start_ms) in labels.items()
        if key in held or start_ms == newest[counter_id] or start_ms > now_ms - LONGEST_WINDOW_MS
    )
    nothing = ["0"] * len(FIGURES)
    batches = [keys[at : at + COUNTERS_PER_CALL] for at in range(0, len(keys), COUNTERS_PER_CALL)] or [[]]
    for number, batch in enumerate(batches, start=1):
        last = number == len(batches)
        if last:
            await archive.rebuilt(org, epoch)
        rows = [[[*map(str, each.get(key, nothing))] for each in (spent, held)] for key in batch]
        answer = await _REBUILD.run(
            redis,
            [names.meta, fence, *batch],
            [token, now_ms + LONGEST_WINDOW_MS, epoch if last else "", GRACE_MS, _json(rows), turn],
        )
        if answer[0] == "known":
            return False
        if answer[0] != "rebuilt":
            msg = f"rebuilding the ledger of org {org} was taken over by another process"
            raise LedgerUnavailable(msg)
    _log.error(
        "the budget store had lost the ledger of org %s: rebuilt %d counters and %d endings from SQL",
        org,
        len(keys),
        len(endings),
    )
    return True


async def _adopt(
    redis: Redis, org: str, endings: Sequence[Ending], lifetimes: Lifetimes, *, move: bool
) -> int:
    names = wire.OrgKeys(org)
    adopted = 0
    times = (lifetimes.outlives_ms, lifetimes.retention_ms)
    for first in range(0, len(endings), ADOPTIONS_PER_BATCH):
        calls: list[tuple[list[str], list[str | int]]] = []
        for ending in endings[first : first + ADOPTIONS_PER_BATCH]:
            postings = [
                wire.Posting(
                    key=names.counter_key(counter_id, start_ms),
                    id=counter_id,
                    starts=str(start_ms),
                    until=str(start_ms + LONGEST_WINDOW_MS),
                    bound="high" if bound == "high" else "central",
                )
                for counter_id, start_ms, bound in ending.counters
            ]
            keys = [names.hold(ending.hold), names.open_holds, names.meta, *(p.key for p in postings)]
            amounts = [" ".join(map(str, each)) for each in (ending.central, ending.high)]
            flag = "1" if move else "0"
            calls.append(
                (keys, [ending.hold, *times, ending.kind, *amounts, wire.postings_json(postings), flag])
            )
        answers = await _ADOPT.run_all(redis, calls)
        adopted += sum(answer[0] == "adopted" for answer in answers)
    return adopted


def turn_at(now_ms: int) -> str:
    """A turn that sorts before those that servers begin after it, and behind all earlier ones."""
    return f"{now_ms:016d}"


def began_ms(turn: str) -> int:
    """When a turn began, by the clock of its server (UTC epoch ms)."""
    return int(turn.partition("-")[0])


async def _now_ms(redis: Redis) -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _json(rows: Any) -> str:
    return msgspec.json.encode(rows).decode()
