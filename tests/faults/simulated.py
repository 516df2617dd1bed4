"""A seeded simulation in virtual time (X1): gateways, clients, an image service and a network that fails.

Lives, admission, settlements, journal consumers and scripts are the gateway's own, the ledger is on a real
server and usage in a real database. Gateways crash and come back on their disk, replies are lost, the store
goes away, another server with an older copy takes over, clocks are wrong and step. After every script the
invariants of the ledger hold; at the end everything is exact, and every request is charged by the rules.

`python -m tests.faults.simulated SEED...` runs seeds again and prints what happened, step by step.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import sys
import tempfile
from collections import Counter as Tally
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx
import msgspec
from redis import Redis as BlockingRedis
from sqlalchemy import delete, select

from gateway.budgets.audit import audit
from gateway.budgets.ledger import Ledger
from gateway.budgets.policy import load_policies
from gateway.budgets.rates import Rates
from gateway.budgets.wire import OrgKeys
from gateway.errors import ApiError, NotStarted, OutcomeUnknown, Rejected
from gateway.footprint.factors import load_factors
from gateway.identity.subject import Role, Subject
from gateway.images.request import read_generation
from gateway.lifecycle.ask import Ask, ClientGone
from gateway.lifecycle.plan import Configuration
from gateway.lifecycle.repeats import Repeats
from gateway.lifecycle.serve import Images
from gateway.lifecycle.settlement import Settlements
from gateway.routing.fleet import Fleet
from gateway.routing.leases import Leases
from gateway.store.sql import open_database
from gateway.store.tables import metadata, requests
from gateway.store.valkey import EmbeddedValkey
from gateway.telemetry import Telemetry
from gateway.upstreams.answers import UpstreamAnswer, spooled
from gateway.upstreams.deployment_file import load_deployments
from gateway.usage import journal
from gateway.usage.archive import Archive
from gateway.usage.journal import JournalConsumer
from tests.faults.stepped import Network, OneAtATime, SteppedRedis, Store
from tests.faults.virtual import SKEW_S, VirtualLoop, virtual_clocks
from tests.processes import write_files
from tests.running import MODEL, budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.images.request import ImageRequest
    from gateway.store.sql import Database
    from gateway.upstreams.deployments import Deployment

LEASE_S = 5
CLIENTS_S = 12.0
LONGEST_WORK_S = 10.0
CHANGING = {"reserve", "settle", "release", "expire", "restore", "adopt", "rebuild"}

BUDGETS = [
    budget("everyone", per=[], limits={"images": 40}, window={"kind": "calendar", "every": "hour"}),
    budget(
        "teams",
        per=["team"],
        limits={"images": 25, "energy": "1 kWh"},
        bound="high",
        window={"kind": "calendar", "every": "hour"},
    ),
]
ZONES = {"SE": "http://127.0.0.1:1/v1", "PL": "http://127.0.0.1:2/v1"}


def configuration(directory: Path) -> Configuration:
    file, policies = write_files(directory, ZONES, BUDGETS)
    factors = load_factors()
    deployments = load_deployments(file, environ={}, known_zone=lambda zone: True, known_gpu=lambda gpu: True)
    return Configuration(load_policies(policies), deployments, factors, loaded_at=0)


@dataclass
class Asked:
    """One request: what its client was told, and what really happened to it."""

    id: str
    n: int
    status: int | str | None = None
    images: int | None = None
    begun: int = 0
    made: int | None = None
    crashed: bool = False
    forgotten: bool = False
    ended_at: float = 0.0


@dataclass
class Gateway:
    network: Network
    skew_s: float
    home: Path
    images: Images
    settlements: Settlements
    consumer: JournalConsumer
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    own: set[str] = field(default_factory=set)
    ended: list[Asked] = field(default_factory=list)

    def brought_back(self) -> bool:
        """Whether it has brought to a new server what that one may lack."""
        return bool(self.settlements._recoveries or self.settlements.recovered)

    def start(self, coroutine: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class World:
    """Everything of one seed."""

    def __init__(
        self, seed: int, redis: BlockingRedis, database: Database, configured: Configuration, home: Path
    ) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.loop = VirtualLoop()
        self.org = f"s{seed}"
        self.keys = OrgKeys(self.org)
        redis.flushall()
        self.redis = redis
        self.store = Store(redis, self.loop)
        self.store.name("first")
        self.store.watch = self.check
        self.database = database
        self.configured = configured
        self.home = home
        self.gateways: list[Gateway] = []
        self.dead: list[Gateway] = []
        self.asked: dict[str, Asked] = {}
        self.failovers: list[float] = []
        self.copied_at = 0.0
        self.unposted: set[str] = set()
        self.crashes = 0
        self.log: list[str] = []
        self.answers: list[UpstreamAnswer] = []
        self._spent: Tally[tuple[str, int]] = Tally()
        self._journal_at = "-"
        self.telemetry = Telemetry.start()

    def say(self, *words: object) -> None:
        self.log.append(f"{self.loop.now:9.4f}  {' '.join(map(str, words))}")

    def told(self) -> list[tuple[str, int | str | None, int | None, float]]:
        """What the clients saw, in order."""
        return [(one.id, one.status, one.images, one.ended_at) for one in self.asked.values()]

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        with virtual_clocks(self.loop, random.Random(self.seed)):
            try:
                self.loop.run_until_complete(self._run())
            finally:
                for answer in self.answers:
                    answer.close()
                asyncio.set_event_loop(None)
                self.loop.close()
                self.telemetry.shutdown()

    async def _run(self) -> None:
        self.database = OneAtATime.over(self.database, self.loop)
        async with self.database.writing() as connection:
            for table in reversed(metadata.sorted_tables):
                await connection.execute(delete(table))
        faulty = self.chance.random() < 0.8
        self.loses = self.chance.choice([0.0, 0.01, 0.05]) if faulty else 0.0
        self.slow = self.chance.choice([0.0, 0.02]) if faulty else 0.0
        for number in range(self.chance.randint(1, 3)):
            self.gateways.append(self.gateway(number))
        clients = [asyncio.ensure_future(self.client(number)) for number in range(self.chance.randint(8, 30))]
        trouble = [
            asyncio.ensure_future(each())
            for each in (self.crash, self.outage, self.take_over, self.step)
            if faulty and self.chance.random() < 0.5
        ]
        await asyncio.gather(*clients, *trouble)
        await self.calm()
        await self.compare()
        for gateway in self.gateways:
            await self.kill(gateway)
        await self.database.engine.dispose()

    # --- gateways ---

    def gateway(self, number: int, before: Gateway | None = None) -> Gateway:
        network = Network(self.store, random.Random(self.chance.random()), self.loses, self.slow)
        skew_s = before.skew_s if before else self.chance.choice([0.0, 0.0, -3600.0, 0.7, 3600.0])
        SKEW_S.set(skew_s)
        redis: Any = SteppedRedis(network)
        ledger = Ledger(redis, lease_s=LEASE_S, timeout_ms=250, archive=Archive(self.database), grace_ms=2000)
        home = before.home if before else self.home / f"{self.seed}-{number}"
        settlements = Settlements(ledger, self.telemetry.metrics, LEASE_S, home)
        images = Images(
            configuration=lambda: self.configured,
            ledger=ledger,
            settlements=settlements,
            upstreams=Service(self, network, SKEW_S.get()),  # type: ignore[arg-type]
            telemetry=self.telemetry,
            max_answer_bytes_per_image=10_000,
            max_edit_json_bytes=10_000,
            leases=Leases(redis, Fleet(), self.telemetry.metrics, 250),
            repeats=Repeats(b"a pepper for simulations"),
            rates=Rates(redis, 250, None, self.telemetry.metrics.rate),
        )
        consumer = JournalConsumer(redis, self.database, claim_idle_ms=0)
        gateway = Gateway(network, skew_s, home, images, settlements, consumer)
        for work in (settlements.retry(), settlements.renew(), settlements.expire(), consumer.run()):
            gateway.start(work)
        SKEW_S.set(0.0)
        return gateway

    async def kill(self, gateway: Gateway) -> None:
        """The process ends between two steps; what it had on disk stays, and its locks are gone."""
        async with self.database.turnstile:  # type: ignore[attr-defined]
            gateway.network.dead = True
            while tasks := gateway.tasks | gateway.images._lives | gateway.images.leases._leaving:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.sleep(0)
        settlements = gateway.settlements
        for file in {*settlements._left.values(), *([settlements._file] if settlements._file else [])}:
            with contextlib.suppress(OSError):
                file.close()

    async def crash(self) -> None:
        for _ in range(self.chance.randint(1, 3)):
            await asyncio.sleep(self.chance.uniform(1, CLIENTS_S / 2))
            place = self.chance.randrange(len(self.gateways))
            dying = self.gateways[place]
            self.crashes += 1
            for request_id in dying.own:
                self.asked[request_id].crashed = True
            self.dead.append(dying)
            if self.failovers and not dying.brought_back():
                self.forget([dying])
            self.say("crash of gateway", place, "with", sorted(dying.own))
            await self.kill(dying)
            await asyncio.sleep(self.chance.uniform(0.1, LEASE_S * 1.5))
            self.gateways[place] = self.gateway(place, before=dying)
            self.say("gateway", place, "is back")

    # --- the store ---

    async def outage(self) -> None:
        for _ in range(self.chance.randint(1, 3)):
            await asyncio.sleep(self.chance.uniform(1, 10))
            self.say("the store goes away")
            self.store.away = True
            await asyncio.sleep(self.chance.uniform(0.1, 4))
            self.store.away = False
            self.say("the store is back")

    async def take_over(self) -> None:
        await asyncio.sleep(self.chance.uniform(2, CLIENTS_S))
        copy, self.copied_at = self.store.snapshot(), self.loop.now
        self.unposted = {hold for gateway in self.gateways for hold in gateway.settlements._queue}
        await asyncio.sleep(self.chance.uniform(0.0, 1.0))
        self.say("a replica takes over")
        self.failovers.append(self.loop.now)
        self.store.take_over(copy, f"replica-{len(self.failovers)}")
        self.forget(self.dead)

    def forget(self, gateways: list[Gateway]) -> None:
        """What these ended or posted after the copy was made, nobody else may know."""
        for one in (one for gateway in gateways for one in gateway.ended):
            one.forgotten = one.forgotten or one.ended_at >= self.copied_at or one.id in self.unposted

    async def step(self) -> None:
        await asyncio.sleep(self.chance.uniform(1, CLIENTS_S))
        by_s = self.chance.choice([-1.5, -0.3, 0.5, 5.0, 60.0, 3600.0])
        self.say("the store's clock steps by", by_s)
        self.store.offset_s += by_s

    # --- clients ---

    async def client(self, number: int) -> None:
        await asyncio.sleep(self.chance.uniform(0, CLIENTS_S))
        place = self.chance.randrange(len(self.gateways))
        gateway = self.gateways[place]
        asked = Asked(f"r{number}", self.chance.choice([1, 1, 2, 3]))
        if gateway.network.dead:
            return
        self.asked[asked.id] = asked
        body = {"model": MODEL, "prompt": asked.id, "n": asked.n, "size": "64x64"}
        team = self.chance.choice(["red", "blue"])
        gone = asyncio.Event()
        ask = Ask(
            asked.id,
            Subject(self.org, "key", Role.MEMBER, team=team),
            read_generation(json.dumps(body).encode()),
            gone,
            started=self.loop.now,
        )
        if self.chance.random() < 0.15:
            self.loop.call_later(self.chance.expovariate(0.5), gone.set)
        gateway.own.add(asked.id)
        SKEW_S.set(gateway.skew_s)
        serving = gateway.start(gateway.images.serve(ask))
        SKEW_S.set(0.0)
        if self.chance.random() < 0.1:
            self.loop.call_later(self.chance.expovariate(0.5), serving.cancel)
        try:
            served = await serving
            asked.status = 200
            assert isinstance(served.answer, UpstreamAnswer)
            answer = served.answer.read()
            asked.images = len(json.loads(answer)["data"])
        except ApiError as error:
            asked.status = f"{error.status} {error.code}"
        except ClientGone:
            asked.status = "gone"
        except asyncio.CancelledError:
            asked.status = "cancelled"
        asked.ended_at = self.loop.now
        if asked.status != "cancelled":  # the life of a request goes on when its handler is cancelled
            gateway.own.discard(asked.id)
            gateway.ended.append(asked)
        self.say(asked.id, "n", asked.n, "at gateway", place, "->", asked.status, asked.images)

    # --- what must hold ---

    def check(self, verb: str, answer: Any) -> None:
        """After every script: I1, I2 and I3, on what the server holds at that moment."""
        self.say("   ", verb, answer if verb != "reserve" else answer[:2])
        if verb not in CHANGING:
            return
        counters, held = self._look()
        for key, fields in counters.items():
            for place in range(1, 5):
                assert fields.get(f"h{place}", 0) == held[key, place], ("I3", key, place)
                assert fields.get(f"s{place}", 0) >= 0, ("I2", key, place)
        if self.failovers:
            return  # what was lost is known to the whole audit at the end
        self._check_journal(counters)
        for key, fields in counters.items():
            limit = 40 if ":everyone:" in key else 25
            taken, beyond = fields.get("s4", 0) + fields.get("h4", 0), fields.get("o4", 0)
            assert verb != "reserve" or answer[0] != "held" or taken <= limit + beyond, ("I1", key, taken)

    def _look(self) -> tuple[dict[str, dict[str, int]], Tally[tuple[str, int]]]:
        """The counters' fields, and per counter and dimension what the open holds add up to."""
        names: Any = self.redis.keys(f"eg:{{{self.org}}}:c:*")
        open_ids: Any = self.redis.zrange(self.keys.open_holds, 0, -1)
        with self.redis.pipeline(transaction=False) as pipeline:
            for key in names:
                pipeline.hgetall(key)
            for hold in open_ids:
                pipeline.hmget(self.keys.hold(hold), "central", "high", "counters")
            rows = pipeline.execute()
        counters = {
            str(key): {name: int(value) for name, value in fields.items()}
            for key, fields in zip(names, rows, strict=False)
        }
        held: Tally[tuple[str, int]] = Tally()
        for central, high, postings in rows[len(names) :]:
            for row in msgspec.json.decode(postings):
                for place, amount in enumerate((high if row[4] == "high" else central).split(), start=1):
                    held[row[0], place] += int(amount)
        return counters, held

    def _check_journal(self, counters: dict[str, dict[str, int]]) -> None:
        first = self._journal_at if self._journal_at == "-" else f"({self._journal_at}"
        entries: Any = self.redis.xrange(f"eg:{{{self.org}}}:journal", min=first)
        for entry_id, fields in entries:
            self._journal_at = str(entry_id)
            for counter_id, start_ms, bound in msgspec.json.decode(fields["counters"]):
                key = self.keys.counter_key(counter_id, start_ms)
                for place, amount in enumerate(fields[bound].split(), start=1):
                    self._spent[key, place] += int(amount)
        for key, fields in counters.items():
            for place in range(1, 5):
                assert fields.get(f"s{place}", 0) == self._spent[key, place], ("I2", key, place)

    async def calm(self) -> None:
        """Nothing fails any more and nobody asks; leases end (I15) and consumers catch up."""
        self.loses = self.slow = 0.0
        for gateway in self.gateways:
            gateway.network.loses = gateway.network.slow = 0.0
        await asyncio.sleep(LONGEST_WORK_S + LEASE_S + 2 + 5)

    async def compare(self) -> None:
        """I2, I3, I7, I13 and I17 over the whole life of the seed."""
        calm: Any = SteppedRedis(Network(self.store, random.Random(0)))
        found = await audit(calm, Archive(self.database), self.org)
        assert found.differences == (), found.differences
        assert found.open_holds == 0
        query = select(requests.c.id, requests.c.images).where(requests.c.org == self.org)
        async with self.database.reading() as connection:
            charged = {row.id: row.images for row in await connection.execute(query)}
        for one in self.asked.values():
            images = charged.get(one.id, 0)
            self.say(one, "charged", images)
            assert images in self.right(one), (one, images)

    def right(self, one: Asked) -> set[int]:
        """How many images the rules may charge for this request."""
        made = one.made or 0
        if one.forgotten:
            # Its gateway died before it could tell a replica, which may not have heard of the hold either, or
            # only of that: it is charged as held then.
            return {0, one.n} | self.right(replace(one, forgotten=False))
        if one.crashed:
            # Charged as held once it was marked, by what came of it if that was posted, or nothing before.
            never = set() if one.begun and not self.failovers else {0}
            return {one.n, made} | never if one.made is not None else {one.n} | never
        match one.status:
            case 200:
                return {made}
            case "gone" | "cancelled":
                return {0, one.n} | ({made} if one.made is not None else set())
            case status if str(status).endswith(("upstream_timeout", "upstream_error")):
                return {one.n}
            case _:
                return {0}


@dataclass
class Service:
    """The image service, and the wire between it and one gateway."""

    world: World
    network: Network
    skew_s: float
    full: bool = False

    def to(self, deployment: Deployment) -> Service:
        return self

    async def send(self, request: ImageRequest, *, trace_headers: Any, max_answer_bytes: int) -> Any:
        world = self.world
        chance = random.Random(f"{world.seed} {request.fields['prompt']}")
        asked = world.asked[request.fields["prompt"]]
        asked.begun += 1
        fields = world.redis.hmget(world.keys.hold(asked.id), "state", "sent")
        assert fields == ["P", "1"] or world.failovers or fields[0] == "E", ("I18", asked, fields)
        outcome = chance.choices(
            ["made", "fewer", "more", "not_started", "rejected", "unknown", "never"],
            [60, 4, 4, 8 if asked.begun == 1 else 2, 6, 10, 4],
        )[0]
        world.say(asked.id, "is sent:", outcome)
        if outcome == "not_started":
            asked.begun -= 1
            await asyncio.sleep(0.05)
            raise NotStarted("overloaded", status=503)
        if outcome == "rejected":
            asked.begun -= 1
            await asyncio.sleep(0.05)
            raise Rejected("no", status=400, error={"message": "no"})
        if outcome != "never":
            await asyncio.sleep(chance.choice([0.1, 1.0, 3.0, LEASE_S * 1.7]))
        if outcome == "unknown":
            raise OutcomeUnknown("cut")
        if outcome == "never":
            await asyncio.sleep(LONGEST_WORK_S)
            raise OutcomeUnknown("timeout", timed_out=True)
        if self.network.dead:
            raise asyncio.CancelledError
        asked.made = max(1, asked.n + {"fewer": -1, "more": 1}.get(outcome, 0))
        body = json.dumps({"created": 1, "data": [{"url": "https://x/y.png"}] * asked.made}).encode()
        response = httpx.Response(200, content=body, headers={"content-type": "application/json"})
        answer = await spooled(response, "images.generate", max_answer_bytes, [])
        world.answers.append(answer)
        return answer


class Simulation:
    """Runs seeds one after the other on one server and one database."""

    def __init__(self, redis: BlockingRedis, database: Database, directory: Path) -> None:
        self._redis = redis
        self._database = database
        self._directory = directory
        self._configured = configuration(directory)

    def run(self, seed: int) -> World:
        """Raises what does not hold, with the seed and the last steps in its notes."""
        home = Path(tempfile.mkdtemp(dir=self._directory))
        world = World(seed, self._redis, self._database, self._configured, home)
        try:
            world.run()
        except BaseException as error:
            error.add_note(f"seed {seed}; python -m tests.faults.simulated {seed} runs it again")
            error.add_note("\n".join(world.log[-40:]))
            raise
        return world


@contextlib.contextmanager
def simulating(directory: Path) -> Any:
    """A simulation with a server and a database of its own in `directory`."""
    database = asyncio.run(open_database(None, directory / "sql"))
    logging.disable(logging.CRITICAL)
    with (
        mock.patch.object(journal, "POLL_S", 1.0),
        EmbeddedValkey.start(directory / "store") as server,
        BlockingRedis.from_url(server.url, decode_responses=True, protocol=3) as redis,
    ):
        redis.config_set("appendonly", "no")
        try:
            yield Simulation(redis, database, directory)
        finally:
            logging.disable(logging.NOTSET)


def main(seeds: list[int], show: Callable[[str], Any] = print) -> None:
    with tempfile.TemporaryDirectory() as folder, simulating(Path(folder)) as simulation:
        for seed in seeds:
            world = simulation.run(seed)
            show("\n".join(world.log))


if __name__ == "__main__":
    first, *rest = sys.argv[1:]
    if first == "--from":
        main(list(range(int(rest[0]), int(rest[2]))), show=lambda _: None)
    else:
        main([int(first), *map(int, rest)])
