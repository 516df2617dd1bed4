"""Keeps readings of the grid in Redis, and this process's copy of them fresh.

One gateway asks a source about a zone at a time: who takes the zone's turn key asks, all others read what it
stored. The turn key also spaces the questions and, after a failure, keeps everybody away for as long as the
source wishes. Nothing here runs in the path of a request; without Redis the copy grows old and says so.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import RedisError

from gateway.routing.providers.registry import PROVIDERS
from gateway.routing.providers.source import Question, SourceFailed
from gateway.routing.readings import KEPT_HOURS, SECONDS_PER_HOUR, Series, hour_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import httpx
    from redis.asyncio import Redis

    from gateway.routing.grid import Grid
    from gateway.routing.providers.source import Provider
    from gateway.routing.readings import Kind, Reading
    from gateway.routing.standing import Standing
    from gateway.routing.tables import MonthHourTable
    from gateway.upstreams.rules import SignalSource

logger = logging.getLogger(__name__)

PREFIX = "eg:signals"
TICK_S = 20.0
REFRESH_S = 900
JITTER_S = 120
ASKING_S = 60
LOOK_BACK_S = 9 * 24 * 3600.0
FAILED = "failed: "


class Stored(msgspec.Struct, array_like=True):
    """One hour of a zone in Redis."""

    g_per_kwh: float
    source: str
    estimated: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """A zone that a source is asked about."""

    source: SignalSource
    provider: Provider
    zone: str
    area: str

    @property
    def turn_key(self) -> str:
        return f"{PREFIX}:turn:{self.provider.name}:{self.zone}"

    @property
    def base_url(self) -> str:
        return self.source.base_url or self.provider.base_url


def wanted(sources: Sequence[SignalSource], zones: Sequence[str]) -> Iterator[Wanted]:
    """Which source is asked about which of the zones that deployments are in; the first that knows a zone."""
    taken: set[tuple[str, Kind]] = set()
    for source in sources:
        provider = PROVIDERS[source.provider]
        for zone in source.zones or zones:
            area = source.area or provider.area(zone)
            if area is not None and zone in zones and (zone, provider.kind) not in taken:
                taken.add((zone, provider.kind))
                yield Wanted(source, provider, zone, area)


@dataclass(frozen=True, slots=True)
class Watch:
    """What one configuration wants of signals: the zones to ask about, the groups and what they rest on."""

    kind: Kind
    wants: tuple[Wanted, ...]
    standings: dict[str, Standing]
    tables: dict[str, MonthHourTable]
    min_gain: float


@dataclass(slots=True)
class Feed:
    """The background work of one process; `watch` gives what the configuration in force wants."""

    redis: Redis
    http: httpx.AsyncClient
    grid: Grid
    watch: Callable[[], Watch]

    async def run(self) -> None:
        """Asks and reads for ever; whatever goes wrong is logged and tried again."""
        while True:
            try:
                await self.tick()
            except (RedisError, OSError, TimeoutError) as error:
                logger.warning("signals cannot be kept in the store: %s", type(error).__name__)
            await asyncio.sleep(TICK_S * random.uniform(0.8, 1.2))  # noqa: S311

    async def tick(self) -> None:
        """Asks about the zones whose turn it is, then takes over what the store has."""
        watch = await asyncio.to_thread(self.watch)  # it may read a long history
        for one in watch.wants:
            if await self.redis.set(one.turn_key, "asking", nx=True, ex=ASKING_S):
                await self._ask(one)
        series, problems = await self._read(watch)
        grid = self.grid
        grid.kind, grid.tables, grid.standings = watch.kind, watch.tables, watch.standings
        grid.replace_series(series)
        grid.problems = problems
        hour = hour_of(time.time())
        for _ in grid.learning(hour, watch.min_gain):
            await asyncio.sleep(0)
        grid.refresh(hour, watch.min_gain)

    async def _ask(self, one: Wanted) -> None:
        now = time.time()
        newest = await self._newest(one)
        since = now - LOOK_BACK_S if newest is None else (newest - 3) * SECONDS_PER_HOUR
        question = Question(one.zone, one.area, max(since, now - LOOK_BACK_S), now, one.source.key)
        try:
            readings = await one.provider.fetch(self.http, one.base_url, question)
        except SourceFailed as failure:
            logger.warning("%s gives nothing about %s: %s", one.provider.name, one.zone, failure)
            await self.redis.set(one.turn_key, f"{FAILED}{failure}", ex=max(1, int(failure.pause_s)))
            return
        await self._store(one, [reading for reading in readings if not reading.forecast], hour_of(now))
        pause = REFRESH_S + random.randint(0, JITTER_S)  # noqa: S311
        await self.redis.set(one.turn_key, "answered", ex=pause)

    async def _newest(self, one: Wanted) -> int | None:
        hours = await self.redis.hkeys(_key(one.provider.kind, one.zone))
        return max((int(hour) for hour in hours), default=None)

    async def _store(self, one: Wanted, readings: Sequence[Reading], hour: int) -> None:
        key = _key(one.provider.kind, one.zone)
        kept = {
            str(reading.hour): msgspec.json.encode(
                Stored(reading.g_per_kwh, reading.source, reading.estimated)
            ).decode()
            for reading in readings
            if hour - KEPT_HOURS < reading.hour <= hour
        }
        if kept:
            await self.redis.hset(key, mapping=dict(kept.items()))
        old = [name for name in await self.redis.hkeys(key) if int(name) <= hour - KEPT_HOURS]
        if old:
            await self.redis.hdel(key, *old)

    async def _read(self, watch: Watch) -> tuple[list[Series], dict[str, str]]:
        series: list[Series] = []
        problems: dict[str, str] = {}
        for one in watch.wants:
            stored = await self.redis.hgetall(_key(one.provider.kind, one.zone))
            if stored:
                series.append(_series(one, stored))
            turn = _text(await self.redis.get(one.turn_key))
            if turn.startswith(FAILED):
                problems[f"{one.provider.name} {one.zone}"] = turn.removeprefix(FAILED)
        return series, problems


def _key(kind: Kind, zone: str) -> str:
    return f"{PREFIX}:{kind}:{zone}"


def _text(raw: Any) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw or "")


def _series(one: Wanted, stored: dict[Any, Any]) -> Series:
    series = Series(one.zone, one.provider.kind, one.provider.name)
    for hour, raw in sorted((int(name), raw) for name, raw in stored.items()):
        entry = msgspec.json.decode(raw, type=Stored)
        series.add(hour, entry.g_per_kwh)
        if series.newest == hour:
            series.source, series.estimated = entry.source, entry.estimated
    return series
