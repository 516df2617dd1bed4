from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, insert, select, text

from gateway.errors import StoreError
from gateway.store.sql import FILE_NAME, Database, open_database
from gateway.store.tables import journal, journal_rejects, metadata, postings

if TYPE_CHECKING:
    from pathlib import Path

REJECT = {
    "org": "acme",
    "stream": "journal",
    "entry_id": "1-0",
    "fields": "{}",
    "reason": "",
    "rejected_at_ms": 1,
}


async def test_the_migrations_make_exactly_the_tables_that_the_code_names(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_database_that_is_opened_again_keeps_its_rows(
    database: Database, database_url: str | None, tmp_path: Path
) -> None:
    async with database.writing() as connection:
        await connection.execute(insert(journal_rejects).values(REJECT))

    again = await open_database(database_url, tmp_path)

    async with again.reading() as connection:
        assert await connection.scalar(select(func.count()).select_from(journal_rejects)) == 1
    await again.close()


def test_processes_that_start_together_all_open_the_database(
    database_url: str | None, tmp_path: Path
) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from gateway.store.sql import open_database\n"
        "async def main():\n"
        "    database = await open_database(sys.argv[1] or None, pathlib.Path(sys.argv[2]))\n"
        "    await database.ping()\n"
        "    await database.close()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, database_url or "", str(tmp_path)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]

    errors = [process.communicate(timeout=60)[1] for process in started]

    assert errors == [b""] * 4


async def test_a_block_that_raises_writes_nothing(database: Database) -> None:
    async def fail() -> None:
        async with database.writing() as connection:
            await connection.execute(insert(journal_rejects).values(REJECT))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    async with database.reading() as connection:
        assert await connection.scalar(select(func.count()).select_from(journal_rejects)) == 0


async def test_writers_take_turns_and_readers_do_not_wait_for_them(database: Database) -> None:
    async def write(number: int) -> None:
        async with database.writing() as connection:
            await connection.execute(insert(journal_rejects).values({**REJECT, "entry_id": f"{number}-0"}))
            await asyncio.sleep(0.01)

    async with database.writing() as connection:
        await connection.execute(insert(journal_rejects).values(REJECT))
        await database.ping()
    await asyncio.gather(*(write(number) for number in range(2, 12)))

    async with database.reading() as connection:
        assert await connection.scalar(select(func.count()).select_from(journal_rejects)) == 11


async def test_a_posting_needs_its_journal_entry(database: Database) -> None:
    posting = {
        "org": "acme",
        "stream": "journal",
        "entry_id": "1-0",
        "position": 0,
        "counter": "b|{}",
        "bucket_start_ms": 0,
        "bound": "central",
    }

    with pytest.raises(Exception, match=r"(?i)foreign key"):
        async with database.writing() as connection:
            await connection.execute(insert(postings).values(posting))

    async with database.reading() as connection:
        assert await connection.scalar(select(func.count()).select_from(journal)) == 0


async def test_sqlite_writes_ahead_and_syncs_every_commit(sqlite_database: Database, tmp_path: Path) -> None:
    async with sqlite_database.reading() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert await connection.scalar(text("PRAGMA synchronous")) == 2
    assert (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize(
    "url",
    ["mysql://user:hunter2@db/x", "sqlite://", "sqlite:///:memory:", "no url, hunter2", "postgresql+psycopg"],
)
async def test_another_kind_of_url_is_refused_without_being_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        await open_database(url, tmp_path)

    assert "hunter2" not in str(caught.value)


async def test_an_unreachable_server_is_a_store_error_without_the_password(tmp_path: Path) -> None:
    url = f"postgresql://user:hunter2@/x?host={tmp_path}"

    with pytest.raises(StoreError) as caught:
        await open_database(url, tmp_path)

    assert "hunter2" not in str(caught.value)
    assert "OperationalError" in str(caught.value)


async def test_a_writer_that_is_cancelled_anywhere_keeps_nobody_waiting(database: Database) -> None:
    async def write(number: int) -> None:
        async with database.writing() as connection:
            await connection.execute(insert(journal_rejects).values({**REJECT, "entry_id": f"{number}-0"}))
            await connection.execute(select(func.count()).select_from(journal_rejects))

    for number in range(60):
        cancelled = asyncio.create_task(write(number))
        for _ in range(number):
            await asyncio.sleep(0)
        await asyncio.sleep(number % 10 / 5000)
        cancelled.cancel()
        await asyncio.wait([cancelled])

        async with asyncio.timeout(20):
            await write(1000 + number)
