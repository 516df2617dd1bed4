"""How many requests a key may send in a minute: one script in the store counts them for all gateways.

A key's requests fill a bucket of a minute's worth, which empties evenly: after a pause a whole minute's worth
passes at once, then one whenever there is room again (the generic cell rate algorithm). Invariant: while the
store does not answer, this neither lets anybody in nor keeps anybody out; budgets decide. Refuses to know
HTTP.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.budgets.breaker import Breaker
from gateway.budgets.scripts import Script
from gateway.errors import LedgerUnavailable
from gateway.store.keyspace import org_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from gateway.identity.subject import Subject

logger = logging.getLogger(__name__)

_RATE: Final = Script.load("rate")
US_PER_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Standing:
    """How a key stands: `limit` requests a minute, of which `remaining` more would pass now.

    After `reset_ms` without requests all of them would. `wait_ms` is 0 for a request that passes.
    """

    limit: int
    remaining: int
    reset_ms: int
    wait_ms: int


@dataclass(slots=True)
class Rates:
    """Limits, as one process asks for them. `per_minute` is for keys without one of their own.

    `noted` is told of each request that was looked at: `passed`, `refused` or `uncounted`.
    """

    redis: Redis
    timeout_ms: int
    per_minute: int | None
    noted: Callable[[str], None]
    _call: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self._call = Breaker(self.timeout_ms)

    def limit(self, subject: Subject) -> int | None:
        """Requests per minute of a subject's key: its own, where 0 frees it of any, else that of all keys."""
        own = subject.requests_per_minute
        return self.per_minute if own is None else own or None

    async def take(self, subject: Subject) -> Standing | None:
        """Count a request, unless it has to wait. None where there is no limit or nobody can count."""
        limit = self.limit(subject)
        if limit is None:
            return None
        try:
            async with self._call("rate"):
                passed, remaining, reset_us, wait_us = await _RATE.run(
                    self.redis, [org_key(subject.org, "rate", subject.key)], [limit]
                )
        except LedgerUnavailable as error:
            logger.warning("requests per minute are not counted: %s", error)
            self.noted("uncounted")
            return None
        self.noted("passed" if passed else "refused")
        return Standing(limit, remaining, _ms(reset_us), _ms(wait_us))


def _ms(us: int) -> int:
    return math.ceil(us / US_PER_MS)
