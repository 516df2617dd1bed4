"""Which policies are in force on all gateways: those written last, by a number that the store gives.

Each gateway announces what it has read, again and again; the ledger refuses a version with a lower number
than an org has seen. Files may be rolled back: it is the change that counts, not the files' own dates.
Refuses to know what policies say.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.budgets.scripts import Script, deadline
from gateway.errors import LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

IN_FORCE: Final = "eg:{policies}:in-force"
KNOWN: Final = "eg:{policies}:known"
ANNOUNCE_EVERY_S: Final = 0.5
KEPT_MS: Final = 5_000
_ANNOUNCE: Final = Script.load("announce")

logger = logging.getLogger(__name__)


class Editions:
    """What this gateway has announced. `number` is that of its policies, 0 until the store gave one."""

    def __init__(self, redis: Redis, *, timeout_ms: int, numbered: Callable[[str, int], None]) -> None:
        """`numbered` hears the version and its number whenever the store gave one."""
        self._redis = redis
        self._timeout_ms = timeout_ms
        self._numbered = numbered
        self._unannounced: str | None = None
        self._behind = False

    async def announce(self, version: str, *, changed: bool = False) -> int:
        """The number of a version; `changed` when files have just changed to it. Raises LedgerUnavailable."""
        if changed:
            self._unannounced = version
        news = "1" if self._unannounced == version else "0"
        async with deadline("announce", self._timeout_ms):
            answer = await _ANNOUNCE.run(self._redis, [IN_FORCE, KNOWN], [version, news, KEPT_MS])
        if self._unannounced == version:
            self._unannounced = None
        behind = str(answer[1]) != version
        if behind and not self._behind:
            logger.warning("other policies are in force than those of this gateway: nothing is admitted here")
        self._behind = behind
        self._numbered(version, int(answer[0]))
        return int(answer[0])

    async def watch(self, version: Callable[[], str]) -> None:
        """Runs for ever: announces what is in force here."""
        while True:
            await asyncio.sleep(ANNOUNCE_EVERY_S)
            try:
                await self.announce(version())
            except LedgerUnavailable as error:
                logger.warning("policies were not announced: %s", error)
