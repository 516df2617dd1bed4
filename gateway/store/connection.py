"""Connections to Redis or Valkey.

A call is never repeated on its own: a script that timed out may have run, so only the caller, who knows the
hold's id, may send it again. Refuses to know what is stored.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.errors import StoreAway, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CONNECTIONS = 64  # per process; a call waits for a free one within its own deadline
CLOCK_OFFSET_S = 5.0
GRACE_MS = 2_000
LOOK_S, LOOK_AGAIN_S = 60.0, 0.5
OLDEST_SERVER = (7, 0)  # script flags and PEXPIRETIME came with Redis 7.0


logger = logging.getLogger(__name__)


def connect(url: str, *, timeout_ms: int) -> Redis:
    """A client for `redis://`, `rediss://` or `unix://` URLs that connects on first use and never retries.

    `timeout_ms` bounds connecting, waiting for a free connection and each reply. Texts come back as `str`.
    Raises StoreError when the URL is not one of Redis; the message does not repeat the URL, which may hold
    a password.
    """
    timeout_s = timeout_ms / 1000
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=3,
            decode_responses=True,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    except ValueError:
        msg = "the Redis URL must start with redis://, rediss:// or unix:// and be well formed"
        raise StoreError(msg) from None
    return Redis.from_pool(pool)


def grace_ms(url: str) -> int:
    """For how long after a change of servers nothing is admitted, so that gateways bring back what was lost.

    A server on this machine's own socket loses nothing when it is killed, and when the machine dies no
    gateway is left to bring anything: it needs no such time.
    """
    return 0 if url.startswith("unix://") else GRACE_MS


async def check_server(redis: Redis) -> None:
    """Refuse a server on which budgets could be lost or scripts cannot run.

    Raises StoreAway when no server answers, StoreError when it is older than `OLDEST_SERVER`, may evict keys
    (an evicted counter reads as nothing spent) or is a replica. Warns of a server that keeps nothing on disk
    and of clocks that differ.
    """
    try:
        facts: Mapping[str, object] = await redis.info("server", "memory", "persistence", "replication")
        seconds, _ = await redis.time()
    except (RedisError, OSError) as error:
        msg = f"the budget store does not answer: {error}"
        raise StoreAway(msg) from error
    version = str(facts.get("redis_version", "0.0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        msg = f"the budget store is Redis {version}; 7.0 or newer (or Valkey) is needed"
        raise StoreError(msg)
    policy = facts.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        msg = f"the budget store may evict budgets: set maxmemory-policy to noeviction (it is {policy})"
        raise StoreError(msg)
    if facts.get("role") in {"slave", "replica"}:
        msg = "the budget store is a replica: name its primary"
        raise StoreError(msg)
    if not facts.get("aof_enabled"):
        logger.warning(
            "the budget store keeps no append-only file: set appendonly to yes, or a restart loses holds"
        )
    offset_s = float(seconds) - time.time()
    if abs(offset_s) > CLOCK_OFFSET_S:
        logger.error(
            "the budget store's clock is %+.0f s from this machine's; windows follow the store's", offset_s
        )


class ServerWatch:
    """Looks at the server now and then. `trouble` is why nothing may be admitted, `None` when all is well."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.trouble: str | None = "the budget store has not been looked at yet"

    async def look(self) -> None:
        """Raises StoreError for a server that must not be used; one that is away is only noted at first."""
        try:
            await check_server(self._redis)
        except StoreAway as error:
            # Once it was well, the calls themselves find out sooner when it is back.
            if self.trouble is not None:
                self.trouble = str(error)
            return
        except StoreError as error:
            self.trouble = str(error)
            raise
        self.trouble = None

    async def run(self) -> None:
        """Runs for ever."""
        while True:
            before = self.trouble
            try:
                await self.look()
            except StoreError as error:
                logger.error("nothing is admitted: %s", error)  # noqa: TRY400
            if before is not None and self.trouble is None:
                logger.info("the budget store can be used")
            await asyncio.sleep(LOOK_S if self.trouble is None else LOOK_AGAIN_S)
