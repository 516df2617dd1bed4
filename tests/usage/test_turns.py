"""Entries are stored in the turn of the newest server, and in no earlier one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from gateway.store.tables import journal
from gateway.usage.archive import Archive
from gateway.usage.entries import read_entry
from gateway.usage.storing import store_entries
from gateway.usage.turns import Superseded
from tests.usage.journals import fields, record

if TYPE_CHECKING:
    from gateway.store.sql import Database
    from gateway.usage.entries import Entry

FIRST, SECOND = "0000000000000001-aa", "0000000000000002-00"


def entry() -> Entry:
    one = record()
    raw = {name.encode(): value.encode() for name, value in fields(one).items()}
    return read_entry("acme", "journal", f"{one.id.removeprefix('req_')}-0", raw)


async def stored(database: Database) -> int:
    async with database.reading() as connection:
        return len((await connection.execute(select(journal.c.entry_id))).all())


async def test_what_was_read_from_an_earlier_server_is_not_stored(database: Database) -> None:
    archive = Archive(database)
    await archive.begin("acme", "epoch")
    assert await store_entries(database, "acme", [entry()], turn=FIRST) == 1
    await archive.supersede("acme", SECOND)

    with pytest.raises(Superseded):
        await store_entries(database, "acme", [entry()], turn=FIRST)
    assert await stored(database) == 1
    assert await store_entries(database, "acme", [entry()], turn=SECOND) == 1


async def test_a_turn_begins_with_what_is_brought_to_its_server_and_not_with_what_is_read_there(
    database: Database,
) -> None:
    archive = Archive(database)
    await archive.begin("acme", "epoch")
    await archive.supersede("acme", FIRST)

    assert await store_entries(database, "acme", [entry()], turn=SECOND) == 1
    assert await store_entries(database, "acme", [entry()], turn=FIRST) == 1
    assert await archive.turn("acme") == FIRST


async def test_turns_never_go_back(database: Database) -> None:
    archive = Archive(database)
    await archive.begin("acme", "epoch")
    await archive.supersede("acme", SECOND)

    with pytest.raises(Superseded):
        await archive.supersede("acme", FIRST)
    assert await archive.turn("acme") == SECOND
    assert await archive.begun() == ["acme"]


async def test_an_id_that_two_servers_gave_names_two_entries(database: Database) -> None:
    """Their clocks differ, so the second may count milliseconds that the first has used."""
    await Archive(database).begin("acme", "epoch")
    first, second = entry(), replace(entry(), entry_id="5-0")
    first = replace(first, entry_id="5-0")
    assert await store_entries(database, "acme", [first], turn=FIRST) == 1

    assert await store_entries(database, "acme", [second], turn=SECOND) == 1
    assert await store_entries(database, "acme", [second], turn=SECOND) == 0
    assert await stored(database) == 2


async def test_another_org_has_turns_of_its_own(database: Database) -> None:
    await Archive(database).begin("acme", "epoch")
    await Archive(database).begin("other", "epoch")
    await Archive(database).supersede("other", SECOND)

    assert await store_entries(database, "acme", [entry()], turn=FIRST) == 1
