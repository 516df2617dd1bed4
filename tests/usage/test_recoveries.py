"""Changes of servers in the journal: kept in SQL once, and no request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.budgets.audit import audit
from gateway.budgets.ledger import Ledger
from gateway.budgets.witness import Recovery, Unexplained, Witness
from gateway.store.tables import journal, journal_rejects, requests
from gateway.usage.archive import Archive
from gateway.usage.journal import JournalConsumer
from tests.budgets.ledger_builders import ORG, counter
from tests.usage.test_journal import rows

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from gateway.store.sql import Database


async def test_a_recovery_is_kept_once_and_is_no_request(redis: Redis, database: Database) -> None:
    ledger = Ledger(redis, lease_s=60, timeout_ms=5000)
    await ledger.balances(ORG, [counter()])
    late = Recovery("r2", ORG, 9, "b", "c", 0, 0, 0)
    early = Recovery("r1", ORG, 5, "a", "b", 1, 2, 3, (Unexplained("h1", (7, 0, 0, 2, 0, 0)),))
    for recovery in (late, early, early):
        await Witness(redis).tell(recovery)
    in_stream = await audit(redis, Archive(database), ORG)

    await JournalConsumer(redis, database).drain_once()

    texts = await Archive(database).recoveries(ORG)
    assert [msgspec.json.decode(text, type=Recovery) for text in texts] == [early, late]
    assert in_stream.differences == (await audit(redis, Archive(database), ORG)).differences == ()
    assert [await rows(database, table) for table in (journal, requests, journal_rejects)] == [[], [], []]
