"""Raises and resets from the journal into SQL: each as it was journaled last.

They post nothing, so they are no entries of requests. Refuses to know what a raise says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from gateway.store.tables import grants
from gateway.usage.entries import read_grant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.store.sql import Database

KIND = b"grant"


def is_grant(fields: Mapping[bytes, bytes]) -> bool:
    return fields.get(b"kind") == KIND


async def store_grant(database: Database, org: str, fields: Mapping[bytes, bytes]) -> None:
    """Keep a raise, unless a later entry about it is kept. Raises `Unreadable`, `StoreError`."""
    raise_id, at_ms, text = read_grant(fields)
    row = {"org": org, "id": raise_id, "at_ms": at_ms, "raise": text}
    insert = database.insert(grants).values(row)
    changed = {name: insert.excluded[name] for name in ("at_ms", "raise")}
    async with database.storing() as connection:
        await connection.execute(
            insert.on_conflict_do_update(
                index_elements=["org", "id"], set_=changed, where=grants.c.at_ms <= insert.excluded.at_ms
            )
        )


async def grants_of(database: Database, org: str) -> list[str]:
    """Every raise of an org, as JSON."""
    async with database.reading() as connection:
        rows = await connection.execute(select(grants.c["raise"]).where(grants.c.org == org))
        return [str(row[0]) for row in rows]
