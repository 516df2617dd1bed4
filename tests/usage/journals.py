"""Journal entries as the ledger's scripts write them, for tests of what stands behind the journal."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from gateway.usage.record import Record, encode

if TYPE_CHECKING:
    from redis.asyncio import Redis

_ids = itertools.count(1)


def footprint(energy_wh: float = 2.0, water_ml: float = 4.0, carbon_g: float = 1.0) -> dict[str, Any]:
    """A footprint whose bounds are half and double its central values."""
    return {
        name: {"low": value / 2, "central": value, "high": value * 2}
        for name, value in (("energy_wh", energy_wh), ("water_ml", water_ml), ("carbon_g", carbon_g))
    } | {"method": "anchor", "factors": ["gpu-h100", "grid-se"]}


def record(**changes: Any) -> Record:
    """A delivered request of two images by Ana of acme's design team."""
    values: dict[str, Any] = {
        "id": f"req_{next(_ids)}",
        "org": "acme",
        "key": "key_ana",
        "team": "design",
        "user": "ana",
        "labels": {"project": "spring"},
        "route": "images.generate",
        "model": "starter-pack",
        "deployment": "flux-se",
        "zone": "SE",
        "decision": "allow",
        "outcome": "delivered",
        "status": 200,
        "images_requested": 2,
        "images": 2,
        "basis": "settled",
        "footprint": footprint(),
    }
    return Record(**(values | changes))


def fields(of: Record, **changes: Any) -> Any:
    """The fields of a journal entry that commits the record's central footprint, at 0.08 USD."""
    central = (2_000_000, 4_000, 1_000_000, of.images, 80_000, 0)
    values: dict[str, Any] = {
        "kind": "commit",
        "hold": of.id,
        "at": "1767225600000",
        "central": " ".join(map(str, central)),
        "high": " ".join(str(amount * 2) for amount in central[:3]) + f" {of.images} 80000 0",
        "counters": json.dumps([['design-month|{"team":"design"}', 1767225600000, "central"]]),
        "record": encode(of),
    }
    return values | {name: str(value) for name, value in changes.items()}


async def append(redis: Redis, of: Record, **changes: Any) -> str:
    """Write an entry to the journal of the record's org, as `fields` has it."""
    await redis.sadd("eg:orgs", of.org)
    return str(await redis.xadd(f"eg:{{{of.org}}}:journal", fields(of, **changes)))


async def refuse(redis: Redis, of: Record, at_ms: int = 1767225600000) -> str:
    """Write an entry to the refusals of the record's org."""
    await redis.sadd("eg:orgs", of.org)
    entry: Any = {"hold": of.id, "at": str(at_ms), "record": encode(of)}
    return str(await redis.xadd(f"eg:{{{of.org}}}:refusals", entry, maxlen=10_000, approximate=True))
