"""Which orgs have a ledger, and whether it is still the one that was seen last.

Invariant: a ledger begins at zero only when neither SQL nor this process ever knew it; one that is missing in
the store is lost, and stays refused until it is rebuilt. Refuses to know counters and holds.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from redis.exceptions import ResponseError

from gateway.budgets import wire
from gateway.budgets.scripts import Script
from gateway.errors import LedgerUnavailable, StoreError
from gateway.store.keyspace import (
    CONSUMER_GROUP,
    ORGS,
    SCHEMA,
    SCHEMA_VERSION,
    journal_key,
    refusals_key,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from gateway.budgets.breaker import Breaker
    from gateway.budgets.recovery import Archive

ARCHIVE_S: Final = 5.0
LOOKS: Final = 4
BETWEEN_LOOKS_S: Final = 0.1
_BEGIN: Final = Script.load("begin")

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class Presence:
    """The orgs that this process works for. Every await raises LedgerUnavailable when a store fails."""

    def __init__(self, redis: Redis, call: Breaker, archive: Archive | None) -> None:
        """`archive` is SQL's memory; without it only this process remembers."""
        self._redis = redis
        self._call = call
        self._archive = archive
        self._ensuring = asyncio.Lock()
        self._seen: dict[str, tuple[str, str]] = {}
        self._changed: set[str] = set()
        self._before: dict[str, str] = {}
        self._recalled = False
        self.orgs: set[str] = set()
        self.lost: set[str] = set()

    async def ensure(self, org: str) -> None:
        """Once per process and org: find its ledger or begin it, list it, let consumers read its streams.

        Raises LedgerUnavailable when there was a ledger before and the store has lost it.
        """
        if org in self.orgs:
            return
        async with self._ensuring:
            if org not in self.orgs:
                await self._find_or_begin(org)

    async def _find_or_begin(self, org: str) -> None:
        meta = wire.OrgKeys(org).meta
        async with self._call("begin"):
            version = await self._redis.set(SCHEMA, SCHEMA_VERSION, nx=True, get=True)
            if version not in (None, SCHEMA_VERSION):
                msg = f"the budget store was written by another version of ecogate (layout {version!s})"
                raise LedgerUnavailable(msg)
            answer = await _BEGIN.run(self._redis, [meta], ["", "0"])
        if answer[0] != "no_ledger":
            await self._remember(org, str(answer[1]))
        elif org in self.lost:
            self.refuse(org)
        else:
            epoch = uuid.uuid4().hex
            begins = "1" if await self._remember(org, epoch) else "0"
            for _ in range(LOOKS):
                async with self._call("begin"):
                    answer = await _BEGIN.run(self._redis, [meta], [epoch, begins])
                if answer[0] != "no_ledger":
                    break
                await asyncio.sleep(BETWEEN_LOOKS_S)  # another process may be about to begin it
            else:
                self.refuse(org)
        await self.register(org)
        epoch, turn = str(answer[1]), str(answer[2])
        before = await self._known_turn(org, turn)
        if before != turn:
            self._before.setdefault(org, before)
            self._changed.add(org)
        self.orgs.add(org)
        self.lost.discard(org)
        self.see(org, epoch, turn)

    async def register(self, org: str) -> None:
        """List the org and let consumers read its streams; a replica may not have heard of either."""
        async with self._call("begin"):
            for stream in (journal_key(org), refusals_key(org)):
                try:
                    await self._redis.xgroup_create(stream, CONSUMER_GROUP, id="0", mkstream=True)
                except ResponseError as error:
                    if not str(error).startswith("BUSYGROUP"):
                        raise
            await self._redis.sadd(ORGS, org)

    async def recall(self, listed: set[str]) -> None:
        """Once per process: look after the orgs that SQL knows and the store does not list."""
        if self._recalled or self._archive is None:
            return
        begun = await self._asked("which orgs have a ledger", self._archive.begun)
        for org in sorted({*begun} - listed - self.orgs):
            try:
                await self.ensure(org)
            except LedgerUnavailable:
                if org not in self.lost:
                    raise
        self._recalled = True

    async def _known_turn(self, org: str, turn: str) -> str:
        """The turn of the server to which what SQL has was brought; a new org has nothing to bring."""
        if self._archive is None:
            return turn
        archive = self._archive
        before = await self._asked(f"who kept the ledger of org {org}", lambda: archive.turn(org))
        if before is None:
            await self._asked(f"who kept the ledger of org {org}", lambda: archive.supersede(org, turn))
        return turn if before is None else before

    async def _remember(self, org: str, epoch: str) -> bool:
        """Let SQL know that the org has a ledger; False when it knew."""
        if self._archive is None:
            return True
        archive = self._archive
        return await self._asked(f"whether org {org} had a ledger", lambda: archive.begin(org, epoch))

    @staticmethod
    async def _asked(question: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            async with asyncio.timeout(ARCHIVE_S):
                return await ask()
        except (StoreError, OSError, TimeoutError) as error:
            msg = f"the database cannot say {question}: {error}"
            raise LedgerUnavailable(msg) from error

    def see(self, org: str, epoch: str, turn: str) -> None:
        """Note the ledger's epoch and the turn of the server that holds it."""
        before = self._seen.get(org)
        self._seen[org] = (epoch, turn)
        if before is not None and before != (epoch, turn):
            self._before.setdefault(org, before[1])
            self._changed.add(org)

    def turn(self, org: str) -> str:
        """The turn that was seen last; empty for an org that this process never worked for."""
        return self._seen.get(org, ("", ""))[1]

    def take_before(self, org: str) -> str:
        """The turn of the server that kept the ledger before the change; empty where it is not known."""
        return self._before.pop(org, "")

    def lose(self, org: str) -> None:
        """The store has no ledger for the org although it should."""
        if org not in self.lost:
            _log.error("the budget store has no ledger for org %s any more", org)
        self.lost.add(org)
        self.orgs.discard(org)

    def refuse(self, org: str) -> NoReturn:
        """`lose`, and raise LedgerUnavailable."""
        self.lose(org)
        msg = f"the budget store lost the ledger of org {org}; it is being rebuilt"
        raise LedgerUnavailable(msg)

    def take_changed(self) -> set[str]:
        """The orgs whose ledger came to another server or was rebuilt since the last call."""
        changed, self._changed = self._changed, set()
        return changed
