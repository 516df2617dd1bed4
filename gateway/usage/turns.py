"""Whose turn it is to be the store: entries are taken from the newest server that is known, and from no
earlier.

A turn is a text that a server of the budget store gives itself when it takes over an org; later ones sort
behind earlier ones. A consumer may hold entries that it read from a server which a replica has replaced
meanwhile: what the replica lacks of them its gateways post to it again, so they must not count here as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from gateway.errors import StoreError
from gateway.store.tables import ledgers

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.store.sql import Database


class Superseded(StoreError):
    """The entries come from a server that another has replaced; what that one has of them is read again."""


async def in_turn(database: Database, connection: AsyncConnection, org: str, turn: str) -> None:
    """Lets this transaction be the org's only writer. Raises `Superseded` when a later turn is known.

    Without a turn (there is no ledger) nothing is compared.
    """
    if database.is_postgresql:
        # One writer per org at a time: rows are read, summed and written back. SQLite has one anyway.
        await connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(org))))
    if not turn:
        return
    newest = await connection.scalar(select(ledgers.c.turn).where(ledgers.c.org == org))
    if newest is not None and newest > turn:
        msg = f"another server of the budget store has taken over the ledger of org {org}"
        raise Superseded(msg)
