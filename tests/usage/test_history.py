"""Recorded requests in the order of their time, a batch at a time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from gateway.usage import history
from gateway.usage.history import past_requests
from gateway.usage.journal import JournalConsumer
from tests.usage.journals import append, record, refuse

if TYPE_CHECKING:
    import pytest
    from redis.asyncio import Redis

    from gateway.store.sql import Database
    from gateway.usage.history import PastRequest


async def read(
    database: Database, since: int = 0, until: int = 10**15, org: str | None = None
) -> list[PastRequest]:
    return [one async for one in past_requests(database, since, until, org=org)]


async def test_every_request_comes_once_in_the_order_of_its_time_whatever_the_batch(
    database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [*range(1000, 1020), *[1005] * 9]
    random.Random(1).shuffle(times)
    for number, at in enumerate(times):
        await append(redis, record(id=f"req_{number:02}", org=("acme", "globex")[number % 2]), at=at)
    await JournalConsumer(redis, database).drain_once()

    for batch in (1, 2, 7, 29, 1000):
        monkeypatch.setattr(history, "BATCH", batch)
        found = await read(database)
        assert [one.at_ms for one in found] == sorted(times)
        assert len({(one.org, one.at_ms, one.user) for one in found}) <= len(found) == len(times)

    assert {one.org for one in await read(database, org="globex")} == {"globex"}
    assert [one.at_ms for one in await read(database, 1003, 1005)] == [1003, 1004]


async def test_a_request_has_what_it_was_charged_and_a_refused_one_what_it_asked(
    database: Database, redis: Redis
) -> None:
    await append(redis, record(id="req_done", labels={"project": "spring"}), at=1000)
    await refuse(
        redis, record(id="req_no", decision="deny", outcome="refused", images_requested=3), at_ms=2000
    )
    await JournalConsumer(redis, database).drain_once()

    done, refused = await read(database)

    assert (done.refused, done.outcome) == (None, "delivered")
    assert done.central.energy_uwh == 2_000_000
    assert done.high.energy_uwh == 4_000_000
    assert (done.central.cost_uusd, done.central.unpriced) == (80_000, 0)
    assert (done.org, done.key, done.team, done.user) == ("acme", "key_ana", "design", "ana")
    assert (done.labels, done.model, done.route) == ({"project": "spring"}, "starter-pack", "images.generate")
    assert refused.refused is not None
    assert refused.refused.images_requested == 3
    assert refused.refused.footprint["energy_wh"]["central"] == 2.0
