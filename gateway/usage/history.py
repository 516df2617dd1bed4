"""Every recorded request since a moment, the oldest first, a batch at a time.

Knows how rows are read in order without holding them all. Refuses to know what they are read for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, or_, select

from gateway.store.tables import journal, requests
from gateway.usage.record import decode
from gateway.usage.storing import charged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from sqlalchemy import Row

    from gateway.store.sql import Database
    from gateway.usage.entries import Amounts
    from gateway.usage.record import Record

BATCH = 2000
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class PastRequest:
    """A request as it was charged; one that was refused has its record, for what it would have taken."""

    at_ms: int
    org: str
    key: str
    team: str | None
    user: str | None
    labels: dict[str, str]
    model: str
    route: str
    deployment: str | None
    outcome: str
    central: Amounts
    high: Amounts
    refused: Record | None


async def past_requests(
    database: Database, since_ms: int, until_ms: int, *, org: str | None = None
) -> AsyncIterator[PastRequest]:
    """The requests whose first entry is of `since_ms` or later and before `until_ms` (UTC epoch ms)."""
    newest = and_(
        requests.c.outcome == REFUSED,
        journal.c.org == requests.c.org,
        journal.c.stream == requests.c.record_stream,
        journal.c.entry_id == requests.c.record_entry_id,
    )
    query = (
        select(requests, journal.c.record)
        .outerjoin(journal, newest)
        .where(requests.c.at_ms < until_ms)
        .order_by(requests.c.at_ms, requests.c.org, requests.c.id)
        .limit(BATCH)
    )
    if org is not None:
        query = query.where(requests.c.org == org)
    last = (since_ms, "", "")
    while True:
        at_ms, last_org, last_id = last
        later = or_(
            requests.c.at_ms > at_ms,
            requests.c.org > last_org,
            and_(requests.c.org == last_org, requests.c.id > last_id),
        )
        async with database.reading() as connection:
            rows = (await connection.execute(query.where(requests.c.at_ms >= at_ms, later))).all()
        for row in rows:
            yield _read(row)
        if len(rows) < BATCH:
            return
        last = (rows[-1].at_ms, rows[-1].org, rows[-1].id)


def _read(row: Row[Any]) -> PastRequest:
    central = charged(row)
    return PastRequest(
        at_ms=row.at_ms,
        org=row.org,
        key=row.key,
        team=row.team,
        user=row.user,
        labels=row.labels,
        model=row.model,
        route=row.route,
        deployment=row.deployment,
        outcome=row.outcome,
        central=central,
        high=central._replace(
            energy_uwh=row.energy_high_uwh, water_ul=row.water_high_ul, carbon_ug=row.carbon_high_ug
        ),
        refused=decode(row.record) if row.record is not None else None,
    )
