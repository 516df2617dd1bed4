"""Connections to Redis or Valkey.

A call is never repeated on its own: a script that timed out may have run, so only the caller, who knows the
hold's id, may send it again. Refuses to know what is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CONNECTIONS = 64  # per process; a call waits for a free one within its own deadline
OLDEST_SERVER = (7, 0)  # script flags and PEXPIRETIME came with Redis 7.0


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


async def check_server(redis: Redis) -> None:
    """Refuse a server on which budgets could be lost or scripts cannot run.

    Raises StoreError when the server does not answer, is older than `OLDEST_SERVER`, or may evict keys: an
    evicted counter reads as nothing spent.
    """
    try:
        facts: Mapping[str, object] = await redis.info("server", "memory")
    except (RedisError, OSError) as error:
        msg = f"the budget store does not answer: {error}"
        raise StoreError(msg) from error
    version = str(facts.get("redis_version", "0.0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        msg = f"the budget store is Redis {version}; 7.0 or newer (or Valkey) is needed"
        raise StoreError(msg)
    policy = facts.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        msg = f"the budget store may evict budgets: set maxmemory-policy to noeviction (it is {policy})"
        raise StoreError(msg)
