"""How long work takes at each deployment, by kind of work, from what gateways measured lately.

Durations are counted in coarse buckets in Redis, a quarter of an hour at a time, each counting half as much
as the one after it; after an hour nothing is known any more, so that a deployment which was too slow is tried
again. What was cut off by a deadline counts with the time that it had. Too few measurements are no knowledge.
Nothing here runs in the path of a request.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis.asyncio import Redis

    from gateway.upstreams.deployments import DeploymentSet

logger = logging.getLogger(__name__)

PREFIX = "eg:routing:{deployments}:latency"
BOUNDS_S = tuple(round(0.25 * 2 ** (step / 2), 2) for step in range(24))
"""Upper ends of buckets, 0.25 s to 12 min; a quantile is the end of its bucket, up to 42 % too long."""
SLOT_S = 900
WEIGHTS = (1.0, 0.5, 0.25, 0.125)
FEW, ENOUGH = 5.0, 20.0
"""Measurements, by their weights, that make a median and a 95th percentile."""
SHARE_S = 15.0
QUALITIES = frozenset({"low", "medium", "high"})
SMALL_PX, MIDDLE_PX = 600_000, 1_600_000
SEVERAL = 4


@dataclass(frozen=True, slots=True)
class Usual:
    """Seconds until an answer begins to come; None is unknown."""

    p50_s: float | None
    p95_s: float | None


UNKNOWN = Usual(None, None)


def kind_of(
    route: str, *, n: int, quality: str | None, width: int | None, height: int | None, stream: bool
) -> str:
    """A word for work that takes about as long; of a closed set, whatever the client wrote."""
    count = "1" if n == 1 else "few" if n <= SEVERAL else "many"
    pixels = (width or 1024) * (height or 1024)
    size = "small" if pixels <= SMALL_PX else "middle" if pixels <= MIDDLE_PX else "large"
    how = "stream" if stream else "whole"
    return " ".join((route, count, size, quality if quality in QUALITIES else "other", how))


@dataclass(slots=True)
class Latencies:
    """`known` is what all gateways measured; `fresh` is what this one has not shared yet."""

    known: dict[tuple[str, str], Usual] = field(default_factory=dict)
    fresh: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    def usual(self, deployment: str, kind: str) -> Usual:
        return self.known.get((deployment, kind), UNKNOWN)

    def learn(self, deployment: str, kind: str, seconds: float) -> None:
        """One measurement."""
        self.fresh[deployment, kind, min(bisect_left(BOUNDS_S, seconds), len(BOUNDS_S) - 1)] += 1

    def of(self, deployment: str) -> dict[str, Usual]:
        """Everything known of one deployment, by kind of work."""
        return {kind: usual for (name, kind), usual in self.known.items() if name == deployment}


def usual(counts: Mapping[int, float]) -> Usual:
    """The quantiles of weighted counts by bucket."""
    total = sum(counts.values())
    return Usual(
        _quantile(counts, 0.50 * total) if total >= FEW else None,
        _quantile(counts, 0.95 * total) if total >= ENOUGH else None,
    )


def _quantile(counts: Mapping[int, float], below: float) -> float:
    seen = 0.0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= below:
            return BOUNDS_S[bucket]
    return BOUNDS_S[-1]


@dataclass(slots=True)
class LatencyShare:
    """Shares the measurements of one process with all others through Redis."""

    redis: Redis
    latencies: Latencies

    async def run(self, deployed: Callable[[], DeploymentSet]) -> None:
        """Runs for ever; without the store, what was known last stays."""
        while True:
            try:
                await self.tick([one.id for one in deployed().deployments], int(time.time()))
            except (RedisError, OSError, TimeoutError) as error:
                logger.warning("latencies cannot be shared: %s", type(error).__name__)
            await asyncio.sleep(SHARE_S * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load only

    async def tick(self, deployments: Sequence[str], now_s: int) -> None:
        """Adds what is fresh and reads what everybody knows. Raises what the store raises."""
        slot = now_s // SLOT_S
        fresh, self.latencies.fresh = self.latencies.fresh, Counter()
        try:
            await self._add(fresh, slot)
        except BaseException:
            self.latencies.fresh += fresh  # a part may be counted twice, which a quantile bears
            raise
        pipeline = self.redis.pipeline(transaction=False)
        for deployment in deployments:
            for age in range(len(WEIGHTS)):
                pipeline.hgetall(_key(deployment, slot - age))
        rows = iter(await pipeline.execute() if deployments else ())
        known: dict[tuple[str, str], Usual] = {}
        for deployment in deployments:
            summed = _summed([next(rows) for _ in WEIGHTS])
            known |= {(deployment, kind): usual(counts) for kind, counts in summed.items()}
        self.latencies.known = known

    async def _add(self, fresh: Counter[tuple[str, str, int]], slot: int) -> None:
        if not fresh:
            return
        pipeline = self.redis.pipeline(transaction=False)
        for (deployment, kind, bucket), count in fresh.items():
            pipeline.hincrby(_key(deployment, slot), f"{kind}|{bucket}", count)
        for deployment in {deployment for deployment, _, _ in fresh}:
            pipeline.expire(_key(deployment, slot), SLOT_S * (len(WEIGHTS) + 1))
        await pipeline.execute()


def _summed(slots: Iterable[Mapping[Any, Any]]) -> dict[str, dict[int, float]]:
    """Weighted counts by kind and bucket, of slots that begin with the newest."""
    summed: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for weight, stored in zip(WEIGHTS, slots, strict=True):
        for name, count in stored.items():
            kind, _, bucket = str(name).rpartition("|")
            summed[kind][int(bucket)] += weight * int(count)
    return summed


def _key(deployment: str, slot: int) -> str:
    return f"{PREFIX}:{deployment}:{slot}"
