"""Changes of servers from the journal into SQL: what was brought back, and what nobody can explain.

They post nothing, so they are no entries of requests. Refuses to know what a recovery says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from gateway.store.tables import recoveries
from gateway.usage.entries import read_grant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.store.sql import Database

KIND = b"recover"


def is_recovery(fields: Mapping[bytes, bytes]) -> bool:
    return fields.get(b"kind") == KIND


async def store_recovery(database: Database, org: str, fields: Mapping[bytes, bytes]) -> None:
    """Keep it, once. Raises `Unreadable`, `StoreError`."""
    recovery_id, at_ms, text = read_grant(fields)
    row = {"org": org, "id": recovery_id, "at_ms": at_ms, "recovery": text}
    async with database.storing() as connection:
        await connection.execute(database.insert(recoveries).values(row).on_conflict_do_nothing())


async def recoveries_of(database: Database, org: str) -> list[str]:
    """Those of an org as JSON, the oldest first."""
    query = (
        select(recoveries.c.recovery)
        .where(recoveries.c.org == org)
        .order_by(recoveries.c.at_ms, recoveries.c.id)
    )
    async with database.reading() as connection:
        rows = await connection.execute(query)
        return [str(row.recovery) for row in rows]
