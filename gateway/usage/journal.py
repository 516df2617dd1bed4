"""The journal consumer: entries leave Redis for SQL, each exactly once.

An entry is deleted from Redis only after the SQL transaction that holds it; until then it stays pending and
is delivered again, and SQL knows it by org, stream and entry id. What was read from a server that a replica
has replaced meanwhile is not stored (`turns`). Entries of a consumer that died are claimed after
`CLAIM_IDLE_MS`. An entry that nobody can read goes to `journal_rejects` and blocks nothing. Refuses to know
what an entry means (`entries`) and how it is counted (`storing`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any

from redis.client import NEVER_DECODE
from redis.exceptions import RedisError, ResponseError
from sqlalchemy.exc import DataError, IntegrityError

from gateway.errors import StoreError
from gateway.store.keyspace import CONSUMER_GROUP, ORGS, journal_key, meta_key, refusals_key
from gateway.usage.entries import JOURNAL, REFUSALS, Entry, Unreadable, read_entry
from gateway.usage.grants import is_grant, store_grant
from gateway.usage.recoveries import is_recovery, store_recovery
from gateway.usage.storing import store_entries, store_reject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

    from gateway.store.sql import Database

logger = logging.getLogger(__name__)

BATCH = 200
POLL_S = 0.2
"""Between two looks, unless much is waiting: a transaction for every entry costs more than serving it did."""
CLAIM_IDLE_MS = 5_000
CLAIM_EVERY_S = 2.0
BACKOFF_S = (0.1, 5.0)
OWN, NEW = "0", ">"

Fields = dict[bytes, bytes]
Delivered = list[tuple[str, Fields]]


class JournalConsumer:
    """Drains the journals and refusals of every org into one database. Any number may run at once."""

    def __init__(self, redis: Redis, database: Database, *, claim_idle_ms: int = CLAIM_IDLE_MS) -> None:
        self._redis = redis
        self._database = database
        self._claim_idle_ms = claim_idle_ms
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._grouped: set[str] = set()
        self._pending = False
        self._claimed_at = float("-inf")
        self._stopping = asyncio.Event()
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why nothing is drained just now, or `None` when all is well."""
        return self._trouble

    async def run(self) -> None:
        """Drain until `stop` is called. Outages are waited out and logged once when they begin and end."""
        delay_s = BACKOFF_S[0]
        while not self._stopping.is_set():
            try:
                drained = await self.drain_once()
            except Exception as error:  # noqa: BLE001 - whatever it is, usage must go on when it is over
                self._note(error)
                await self._pause(delay_s * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load only
                delay_s = min(delay_s * 2, BACKOFF_S[1])
                continue
            self._note(None)
            delay_s = BACKOFF_S[0]
            if drained < BATCH:
                await self._pause(POLL_S)
        with contextlib.suppress(RedisError, OSError):
            await self._leave()

    def stop(self) -> None:
        """Let `run` end after the batch in hand; what is left stays in Redis for the next consumer."""
        self._stopping.set()

    async def drain_once(self) -> int:
        """Move what is there into SQL; answers how many entries were new to it.

        Raises what Redis and SQL raise; what was delivered meanwhile is taken up by the next call.
        """
        orgs = await self._orgs()
        drained = 0
        if self._pending:
            drained += await self._drain(orgs, OWN)
        self._pending = True
        if time.monotonic() - self._claimed_at >= min(CLAIM_EVERY_S, self._claim_idle_ms / 1000):
            drained += await self._claim(orgs)
            self._claimed_at = time.monotonic()
        drained += await self._drain(orgs, NEW)
        self._pending = False
        return drained

    async def _orgs(self) -> list[str]:
        """The registered orgs, with a consumer group on each of their streams."""
        names: set[Any] = await self._redis.smembers(ORGS)
        orgs = sorted(name.decode() if isinstance(name, bytes) else name for name in names)
        for org in orgs:
            if org in self._grouped:
                continue
            for key in _keys(org).values():
                try:
                    await self._redis.xgroup_create(key, CONSUMER_GROUP, id="0", mkstream=True)
                except ResponseError as error:
                    if "BUSYGROUP" not in str(error):
                        raise
            self._grouped.add(org)
        return orgs

    async def _drain(self, orgs: Sequence[str], start: str) -> int:
        """Read and store until nothing is left: own pending entries, or new ones."""
        drained = 0
        waiting = list(orgs)
        while waiting:
            full = []
            for org, (turn, answer) in zip(waiting, await self._read(waiting, start), strict=True):
                longest = 0
                for stream, delivered in answer.items():
                    drained += await self._store(org, stream, delivered, turn)
                    longest = max(longest, len(delivered))
                if longest >= (1 if start == OWN else BATCH):
                    full.append(org)
            waiting = full
        return drained

    async def _read(self, orgs: Sequence[str], start: str) -> list[tuple[str, dict[str, Delivered]]]:
        """One read per org, since an org is one slot; all in one round trip, each with its server's turn."""
        pipeline = self._redis.pipeline(transaction=False)
        for org in orgs:
            keys = list(_keys(org).values())
            group = ("GROUP", CONSUMER_GROUP, self._name, "COUNT", BATCH, "STREAMS")
            # Undecoded: one field that is no UTF-8 would otherwise hide the whole batch.
            pipeline.execute_command(
                "XREADGROUP", *group, *keys, *(start for _ in keys), **{NEVER_DECODE: True}
            )
            pipeline.hget(meta_key(org), "turn")
        answers = await pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception):
                # The streams may be gone with their groups: look again before the next read.
                self._grouped.clear()
                raise answer
        return [
            (turn or "", _by_stream(org, answer))
            for org, answer, turn in zip(orgs, answers[::2], answers[1::2], strict=True)
        ]

    async def _claim(self, orgs: Sequence[str]) -> int:
        """Take over and store what a consumer was given and did not finish."""
        claimed = 0
        for org in orgs:
            for stream, key in _keys(org).items():
                cursor = b"0-0"
                while True:
                    pipeline = self._redis.pipeline(transaction=False)
                    pipeline.execute_command(
                        "XAUTOCLAIM",
                        *(key, CONSUMER_GROUP, self._name, self._claim_idle_ms, cursor, "COUNT", BATCH),
                        **{NEVER_DECODE: True},
                    )
                    pipeline.hget(meta_key(org), "turn")
                    (cursor, delivered, *_), turn = await pipeline.execute()
                    claimed += await self._store(org, stream, _delivered(delivered), turn or "")
                    if cursor == b"0-0":
                        break
        return claimed

    async def _store(self, org: str, stream: str, delivered: Delivered, turn: str) -> int:
        """Commit to SQL, then acknowledge and delete in Redis.

        Raises `Superseded` when the server that had the entries has been replaced: the next reads go to its
        successor, which delivers again what it has of them.
        """
        if not delivered:
            return 0
        entries = []
        for entry_id, fields in delivered:
            # A pending entry that another consumer finished and deleted comes without fields.
            if not fields:
                continue
            try:
                if is_grant(fields):
                    await store_grant(self._database, org, fields)
                elif is_recovery(fields):
                    await store_recovery(self._database, org, fields)
                else:
                    entries.append(read_entry(org, stream, entry_id, fields))
            except Unreadable as error:
                await self._reject(org, stream, entry_id, fields, str(error))
        raw = dict(delivered)
        stored = await self._commit(org, entries, raw, turn)
        key, ids = _keys(org)[stream], list(raw)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.xack(key, CONSUMER_GROUP, *ids)
            pipeline.xdel(key, *ids)
            await pipeline.execute()
        return stored

    async def _commit(self, org: str, entries: list[Entry], raw: Mapping[str, Fields], turn: str) -> int:
        if not entries:
            return 0
        try:
            return await store_entries(self._database, org, entries, turn=turn)
        except (DataError, IntegrityError) as error:
            # Some value is not to the database's liking: find the entry, so that it cannot hold up others.
            if len(entries) > 1:
                return sum([await self._commit(org, [entry], raw, turn) for entry in entries])
            entry = entries[0]
            reason = f"not accepted by SQL ({type(error).__name__})"
            await self._reject(org, entry.stream, entry.entry_id, raw[entry.entry_id], reason)
            return 0

    async def _reject(self, org: str, stream: str, entry_id: str, fields: Fields, reason: str) -> None:
        await store_reject(self._database, org, stream, entry_id, fields=fields, reason=reason)
        logger.error(
            "journal entry set aside: %s", reason, extra={"org": org, "stream": stream, "entry": entry_id}
        )

    async def _leave(self) -> None:
        """Remove this consumer's name from the groups where nothing is pending under it."""
        for org in self._grouped:
            for key in _keys(org).values():
                pending = await self._redis.xpending_range(
                    key, CONSUMER_GROUP, min="-", max="+", count=1, consumername=self._name
                )
                if not pending:
                    await self._redis.xgroup_delconsumer(key, CONSUMER_GROUP, self._name)

    def _note(self, error: Exception | None) -> None:
        """Log when the kind of trouble changes, not each time it is met."""
        trouble = None if error is None else type(error).__name__
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if error is None:
            logger.info("journal consumer drains again")
        elif isinstance(error, StoreError | RedisError | OSError):
            logger.warning("journal consumer waits: %s", error)
        else:
            logger.error("journal consumer failed and will try again", exc_info=error)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


def _keys(org: str) -> dict[str, str]:
    return {JOURNAL: journal_key(org), REFUSALS: refusals_key(org)}


def _by_stream(org: str, answer: Any) -> dict[str, Delivered]:
    """The entries per stream, from any shape in which the client gives an answer of XREADGROUP."""
    pairs = answer.items() if isinstance(answer, dict) else answer or []
    found = {}
    for key, entries in pairs:
        stream = next(stream for stream, name in _keys(org).items() if name.encode() == key)
        found[stream] = _delivered(entries)
    return found


def _delivered(entries: Any) -> Delivered:
    if len(entries) == 1 and isinstance(entries[0], list):
        entries = entries[0]
    return [(entry_id.decode(), fields or {}) for entry_id, fields in entries if entry_id is not None]
