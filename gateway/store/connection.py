"""Connections to Redis or Valkey.

A call is never repeated on its own: a script that timed out may have run, so only the caller, who knows the
hold's id, may send it again. Refuses to know what is stored.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from gateway.errors import StoreAway, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


MAX_CONNECTIONS = 64  # per process; a call waits for a free one within its own deadline
CLUSTER, SENTINEL = "redis+cluster://", "redis+sentinel://"
CLOCK_OFFSET_S = 5.0
WRONG_DAY_S = 6 * 3600.0
"""A clock that is so far off is broken: dates of records, signals and tokens would be of another day."""
GRACE_MS = 2_000
LOOK_S, LOOK_AGAIN_S = 20.0, 0.5
OLDEST_SERVER = (7, 0)  # script flags and PEXPIRETIME came with Redis 7.0


logger = logging.getLogger(__name__)


class _Telling(AbstractConnection):
    """A connection that tells in redis-py's words that the other side has closed it.

    Commands are packed by hiredis, as redis-py does where it is not asynchronous: packed in Python, the keys
    of one script cost more than all the rest of its call.
    """

    _packer = HiredisRespSerializer()

    def pack_command(self, *args: Any) -> list[bytes]:
        packed: list[bytes] = self._packer.pack(*args)
        return packed

    async def can_read(self) -> bool:
        """As the pool asks before it hands a connection out: one that was reset is opened anew, too, not only
        one that has ended in order."""
        if self._writer is not None and self._writer.is_closing():
            raise RedisConnectionError("the connection is closed")
        return await super().can_read()

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        try:
            await super()._send_packed_command(command)
        except RuntimeError as error:  # uvloop's word for a transport that is closed
            msg = "the connection is closed"
            raise ConnectionResetError(msg) from error


class _Plain(_Telling, Connection): ...


class _Encrypted(_Telling, SSLConnection): ...


class _Local(_Telling, UnixDomainSocketConnection): ...


class _Elected(_Telling, SentinelManagedConnection): ...


class _Sentinels(Sentinel):
    """The Sentinels that name the primary, asked by one call at a time.

    Whichever answered is moved to the front of the list while others walk along it, which would lose one of
    those that did not answer: for ever, and with its connections open.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._asking = asyncio.Lock()

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        async with self._asking:
            found: tuple[str, int] = await super().discover_master(service_name)
            return found


class _Primary(Redis):
    """The client of the primary: with it the connections to the Sentinels that named it are closed."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        for sentinel in cast("SentinelConnectionPool", self.connection_pool).sentinel_manager.sentinels:
            await sentinel.aclose()


_TELLING: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _Plain,
    SSLConnection: _Encrypted,
    UnixDomainSocketConnection: _Local,
}


def connect(url: str, *, timeout_ms: int) -> Redis:
    """A client that connects on first use and never repeats a call that may have run.

    `redis://`, `rediss://` and `unix://` name one server, `redis+sentinel://host:port,host:port/service` the
    primary that Sentinels agree on, `redis+cluster://host:port,host:port` a cluster, where only answers that
    say that nothing ran (MOVED, ASK, TRYAGAIN) are followed. `timeout_ms` bounds connecting, waiting for a
    free connection and each reply. Texts come back as `str`. Raises StoreError when the URL is none of these;
    the message does not repeat the URL, which may hold a password.
    """
    timeout_s = timeout_ms / 1000
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 3,
        "decode_responses": True,
        # Naming the library is an exchange more before the first call: a slow store has no time for it.
        "driver_info": None,
    }
    try:
        if url.startswith((CLUSTER, SENTINEL)):
            return _several(url, options)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=timeout_s,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
            **options,
        )
    except ValueError:
        msg = (
            "the Redis URL must start with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
            " and be well formed"
        )
        raise StoreError(msg) from None
    pool.connection_class = _TELLING[pool.connection_class]
    return Redis.from_pool(pool)


def _several(url: str, options: dict[str, Any]) -> Redis:
    """A client for Sentinels or a cluster. Raises ValueError."""
    scheme, _, rest = url.partition("://")
    login, _, places = rest.rpartition("@")
    hosts, _, service = places.partition("/")
    username, _, password = login.partition(":")
    account: dict[str, Any] = {"username": unquote(username) or None, "password": unquote(password) or None}
    addresses = []
    for place in hosts.split(","):
        host, separator, port = place.rpartition(":")
        if not host or not separator:
            raise ValueError(place)
        addresses.append((host, int(port)))
    if scheme == SENTINEL.removesuffix("://"):
        if not service:
            raise ValueError(service)
        sentinel = _Sentinels(addresses, sentinel_kwargs=dict(options), **options, **account)
        primary: Redis = sentinel.master_for(service, redis_class=_Primary, connection_class=_Elected)
        return primary
    nodes = [ClusterNode(host, port) for host, port in addresses]
    # The same commands with the same answers; only the type differs.
    return cast("Redis", RedisCluster(startup_nodes=nodes, **options, **account))


def grace_ms(url: str) -> int:
    """For how long after a change of servers nothing is admitted, so that gateways bring back what was lost.

    A server on this machine's own socket loses nothing when it is killed, and when the machine dies no
    gateway is left to bring anything: it needs no such time.
    """
    return 0 if url.startswith("unix://") else GRACE_MS


async def check_server(redis: Redis) -> float:
    """How many seconds the server's clock is ahead of this machine's.

    Refuses a server on which budgets could be lost or scripts cannot run.
    Raises StoreAway when no server answers, StoreError when it is older than `OLDEST_SERVER`, may evict keys
    (an evicted counter reads as nothing spent) or is a replica. Warns of a server that keeps nothing on disk.
    """
    try:
        for facts in await _facts(redis):
            _check_facts(facts)
        seconds, microseconds = await redis.time()
    except (RedisError, RedisClusterException, OSError) as error:
        msg = f"the budget store does not answer: {error}"
        raise StoreAway(msg) from error
    return float(seconds) + float(microseconds) / 1e6 - time.time()


async def _facts(redis: Redis) -> list[Mapping[str, object]]:
    """What the server says of itself, or every primary of a cluster."""
    sections = ("server", "memory", "persistence", "replication")
    client: object = redis
    if isinstance(client, RedisCluster):
        await client.initialize()
        by_node = [await client.info(*sections, target_nodes=node) for node in client.get_primaries()]
        return [facts for answer in by_node for facts in _each(answer)]
    return [await redis.info(*sections)]


def _each(answer: dict[str, Any]) -> list[Mapping[str, object]]:
    """A cluster client gives the facts by node name, or those of one node as they are."""
    return [answer] if "redis_version" in answer else list(answer.values())


def _check_facts(facts: Mapping[str, object]) -> None:
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


class ServerWatch:
    """Looks at the server now and then. `trouble` is why nothing may be admitted, `None` when all is well.

    `clock_offset_s` is how far the server's clock is ahead of this machine's (`None` before it was asked),
    and `clock_alarm` a sentence when they differ by more than `CLOCK_OFFSET_S`.
    """

    def __init__(self, redis: Redis, *, looked: Callable[[float], None] = lambda _: None) -> None:
        """`looked` is told the offset each time."""
        self._redis = redis
        self._looked = looked
        self.trouble: str | None = "the budget store has not been looked at yet"
        self.clock_offset_s: float | None = None
        self.clock_alarm: str | None = None

    async def look(self) -> None:
        """Raises StoreError for a server that must not be used; one that is away is only noted at first."""
        try:
            offset_s = await check_server(self._redis)
        except StoreAway as error:
            # Once it was well, the calls themselves find out sooner when it is back.
            if self.trouble is not None:
                self.trouble = str(error)
            return
        except StoreError as error:
            self.trouble = str(error)
            raise
        self._compare(offset_s)

    def _compare(self, offset_s: float) -> None:
        """Windows follow the store's clock, so a difference is told; one of another day admits nothing."""
        self._looked(offset_s)
        before, self.clock_offset_s = self.clock_alarm, offset_s
        self.clock_alarm = self.trouble = None
        if abs(offset_s) <= CLOCK_OFFSET_S:
            return
        self.clock_alarm = (
            f"the budget store's clock is {offset_s:+.0f} s from this machine's; windows follow the store's"
        )
        if before is None:
            logger.error("%s", self.clock_alarm)
        if abs(offset_s) > WRONG_DAY_S:
            self.trouble = f"{self.clock_alarm}; one of the two is wrong"

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
