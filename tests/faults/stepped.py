"""The stores as a simulation sees them: a real server and a real database behind a network that fails.

A call happens at one virtual moment, after and before a delay of the network; request or reply may be lost,
and a gateway that is dead reaches nobody. The scripts are the gateway's own, word for word, but for where
they read the time and the name of their server.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.budgets.scripts import LUA, Script
from gateway.store.sql import Database
from tests.faults.virtual import EPOCH_S

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable
    from typing import Self

    from redis import Redis as BlockingRedis
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.faults.virtual import VirtualLoop

TIME, SERVER = "redis.call('TIME')", "redis.call('INFO', 'server')"
CLOCK, RUN = "sim:clock", "sim:run"
ROUTING = files("gateway.routing") / "lua"


def scripts() -> list[tuple[str, Script]]:
    """Every script of the gateway, the ledger's by their verbs and routing's as `routing.<verb>`."""
    return [
        (prefix + verb, Script.load(verb, folder))
        for prefix, folder in (("", LUA), ("routing.", ROUTING))
        for verb in sorted(path.name.removesuffix(".lua") for path in folder.iterdir())
        if verb != "prelude"
    ]


@dataclass
class Store:
    """One real server in virtual time. `offset_s` is its clock's error; while `away` nobody reaches it."""

    redis: BlockingRedis
    loop: VirtualLoop
    offset_s: float = 0.0
    away: bool = False
    calls: int = 0
    watch: Callable[[str, Any], None] = lambda verb, answer: None
    _scripts: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for verb, script in scripts():
            assert TIME in script.text, verb
            assert script.text.count(SERVER) == (not verb.startswith("routing.")), verb
            text = script.text.replace(TIME, f"redis.call('HMGET', '{CLOCK}', 's', 'us')")
            text = text.replace(SERVER, f"redis.call('GET', '{RUN}')")
            self._scripts[script.sha] = verb, self.redis.script_load(text)

    def time(self) -> tuple[int, int]:
        now = EPOCH_S + self.loop.now + self.offset_s
        return int(now), int(now % 1 * 1_000_000)

    def set_clock(self) -> None:
        seconds, microseconds = self.time()
        self.redis.hset(CLOCK, mapping={"s": seconds, "us": microseconds})

    def run(self, sha: str, keys: int, *rest: Any) -> Any:
        verb, here = self._scripts[sha]
        self.set_clock()
        self.calls += 1
        answer = self.redis.evalsha(here, keys, *rest)
        self.watch(verb, answer)
        return answer

    def name(self, run: str) -> None:
        self.redis.set(RUN, f"run_id:{run}")

    def snapshot(self) -> dict[str, bytes]:
        keys: Any = self.redis.keys("eg:*")
        dumped: Any = {key: self.redis.dump(key) for key in keys}
        return dict(dumped)

    def take_over(self, snapshot: dict[str, bytes], run: str) -> None:
        """Another server has what was replicated to it, and is the store from now on."""
        self.redis.flushall()
        with self.redis.pipeline(transaction=False) as pipeline:
            for key, value in snapshot.items():
                pipeline.restore(key, 0, value)
            pipeline.execute()
        self.name(run)


@dataclass
class Network:
    """What lies between one gateway and the store. `loses` is the chance of each loss."""

    store: Store
    chance: random.Random
    loses: float = 0.0
    slow: float = 0.0
    dead: bool = False

    async def call(self, action: Callable[[], Any]) -> Any:
        self._alive()
        await asyncio.sleep(self._delay())
        self._alive()
        if self._lost():
            raise RedisConnectionError("the request is lost")
        answer = action()
        await asyncio.sleep(self._delay())
        self._alive()
        if self._lost():
            raise RedisConnectionError("the reply is lost")
        return answer

    def _delay(self) -> float:
        if self.chance.random() < self.slow:
            return self.chance.uniform(0.1, 0.6)  # the deadline of a call is 250 ms
        return self.chance.uniform(0.0002, 0.003)

    def _lost(self) -> bool:
        return self.store.away or self.chance.random() < self.loses

    def _alive(self) -> None:
        if self.dead:
            raise asyncio.CancelledError


class SteppedRedis:
    """As much of `redis.asyncio.Redis` as the gateway uses, on a blocking client."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._store = network.store

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store.redis, name)

        async def call(*args: Any, **keywords: Any) -> Any:
            return await self._network.call(lambda: real(*args, **keywords))

        return call

    async def time(self) -> tuple[int, int]:
        answer: tuple[int, int] = await self._network.call(self._store.time)
        return answer

    async def evalsha(self, sha: str, keys: int, *rest: Any) -> Any:
        return await self._network.call(lambda: self._store.run(sha, keys, *rest))

    async def scan_iter(self, match: str, count: int) -> AsyncIterator[Any]:
        for key in await self._network.call(lambda: list(self._store.redis.scan_iter(match, count))):
            yield key

    def pipeline(self, *, transaction: bool = True) -> SteppedPipeline:
        return SteppedPipeline(self._network, transaction=transaction)


class SteppedPipeline:
    """Commands of one round trip; scripts among them run by their names."""

    def __init__(self, network: Network, *, transaction: bool) -> None:
        self._network = network
        self._transaction = transaction
        self._commands: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        def queue(*args: Any, **keywords: Any) -> None:
            self._commands.append((name, args, keywords))

        return queue

    async def execute(self, *, raise_on_error: bool = True) -> list[Any]:
        commands, self._commands = self._commands, []
        answer: list[Any] = await self._network.call(lambda: self._run(commands, raise_on_error))
        return answer

    def _run(self, commands: list[Any], raise_on_error: bool) -> list[Any]:
        store = self._network.store
        if any(name == "evalsha" for name, _, _ in commands):
            return [store.run(*args) for _, args, _ in commands]
        with store.redis.pipeline(transaction=self._transaction) as pipeline:
            for name, args, keywords in commands:
                getattr(pipeline, name)(*args, **keywords)
            return pipeline.execute(raise_on_error=raise_on_error)


class OneAtATime(Database):
    """A database in which one transaction follows the other, while virtual time stands still."""

    loop: VirtualLoop
    turnstile: asyncio.Lock

    @classmethod
    def over(cls, database: Database, loop: VirtualLoop) -> OneAtATime:
        one = cls(database.engine)
        object.__setattr__(one, "loop", loop)
        object.__setattr__(one, "turnstile", asyncio.Lock())
        return one

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._outside(), super().reading() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._outside(), super().writing() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _outside(self) -> AsyncIterator[None]:
        async with self.turnstile:
            self.loop.outside += 1
            try:
                yield
            finally:
                self.loop.outside -= 1
