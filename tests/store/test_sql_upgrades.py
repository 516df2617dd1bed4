"""Databases with rows in them, through every migration; versions that meet at one database."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, MetaData, create_engine, event, insert, inspect, select, text

from gateway.errors import StoreError
from gateway.store import sql
from gateway.store.keyspace import journal_key
from gateway.store.sql import Database, migrate, open_database
from tests.faults.world import ORG, PLENTY, charged, load, quiet, until
from tests.running import gateway_running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis.asyncio import Redis
    from sqlalchemy import URL, Table

SHAPES = sorted(path.name[:4] for path in (sql.MIGRATIONS / "versions").glob("0*.py"))
WRITTEN_BY_OLDER = ("api_keys", "ledgers")
"""What a version goes on writing once a newer one has migrated; other tables are left to that one."""
NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", "{before}", None, None


def upgrade():
    op.create_table("of_the_next", sa.Column("id", sa.Text(), primary_key=True))
    with op.batch_alter_table("requests") as requests:
        requests.add_column(sa.Column("of_the_next", sa.BigInteger(), nullable=False, server_default="0"))
"""


@pytest.fixture
def target(database_url: str | None, tmp_path: Path) -> URL:
    tmp_path.joinpath("data").mkdir()
    return sql._target(database_url, tmp_path / "data")


@pytest.fixture
def engine(target: URL) -> Iterator[Engine]:
    """Connections that are there before, while and after others migrate."""
    made = create_engine(sql._driver(target, is_async=False))
    yield made
    made.dispose()


def row(table: Table, number: int) -> dict[str, Any]:
    """A row that refers to those of the same number in other tables."""
    values: dict[str, Any] = {}
    for column in table.columns:
        kind = column.type.python_type
        name = next((key.column.name for key in column.foreign_keys), column.name)
        made = kind(number) if kind in {int, bool, float} else f"{name}-{number}"
        values[column.name] = made.encode() if kind is bytes else made
    return values | ({"kind": "commit"} if "kind" in values else {})


def tables(engine: Engine) -> MetaData:
    metadata = MetaData()
    metadata.reflect(engine)
    metadata.remove(metadata.tables["alembic_version"])
    return metadata


def rows(engine: Engine, metadata: MetaData) -> dict[str, list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return {
            table.name: sorted(tuple(one) for one in connection.execute(select(*table.columns)))
            for table in metadata.sorted_tables
        }


@pytest.mark.parametrize("shape", SHAPES[:-1])
def test_an_upgrade_keeps_every_row_and_takes_what_the_earlier_version_still_writes(
    target: URL, engine: Engine, shape: str
) -> None:
    migrate(target, shape)
    earlier = tables(engine)
    with engine.begin() as connection:
        for number in range(1, 9):  # more than the driver needs to prepare the statement for good
            for table in earlier.sorted_tables:
                connection.execute(insert(table).values(row(table, number)))
    before = rows(engine, earlier)

    migrate(target)

    after = rows(engine, earlier)
    assert {name: kept[: len(before[name])] for name, kept in after.items()} == before
    with engine.begin() as connection:
        for name in set(WRITTEN_BY_OLDER) & set(earlier.tables):
            table = earlier.tables[name]
            connection.execute(insert(table).values(row(table, 9)))
            assert len(rows(engine, earlier)[name]) == len(after[name])
    assert all(len(rows(engine, earlier)[name]) == 9 for name in set(WRITTEN_BY_OLDER) & set(earlier.tables))


def test_what_later_versions_keep_beside_the_rows_is_made_of_those_that_are_there(
    target: URL, engine: Engine
) -> None:
    migrate(target, SHAPES[0])
    first = tables(engine)
    with engine.begin() as connection:
        for number in (1, 2):
            entry = row(first.tables["journal"], number) | {"org": "acme"}
            asked = row(first.tables["requests"], number)
            same = {
                "org": "acme",
                "at_ms": number,
                "model": "m",
                "route": "r",
                "decision": "allow",
                "team": "t",
            }
            asked |= same | {"zone": "SE", "deployment": "d", "basis": "settled"}
            connection.execute(insert(first.tables["journal"]).values(entry))
            connection.execute(insert(first.tables["requests"]).values(asked))

    migrate(target)

    with engine.connect() as connection:
        begun = connection.execute(text("SELECT org, epoch FROM ledgers")).all()
        unpriced = connection.execute(text("SELECT central_unpriced, high_unpriced FROM journal")).all()
        hours = connection.execute(
            text("SELECT hour_ms, requests, settled, images, energy_uwh, waste_energy_uwh FROM usage_hours")
        ).all()
    assert [tuple(one) for one in begun] == [("acme", "")]
    assert [tuple(one) for one in unpriced] == [(1, 1), (1, 1)]
    assert [tuple(map(int, one)) for one in hours] == [(0, 2, 2, 3, 3, 0)]


def test_an_upgrade_that_breaks_off_at_any_statement_leaves_everything_as_it_was(
    target: URL, engine: Engine
) -> None:
    migrate(target, SHAPES[0])
    first = tables(engine)
    with engine.begin() as connection:
        for table in first.sorted_tables:
            connection.execute(insert(table).values(row(table, 1)))
    before = inspect(engine).get_table_names(), rows(engine, first)

    def broken_off(after: int) -> bool:
        """Whether there was a statement so far on, which then broke the upgrade off."""
        left = after

        def count(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise ZeroDivisionError

        event.listen(Engine, "before_cursor_execute", count)
        try:
            migrate(target)
        except ZeroDivisionError:
            return True
        finally:
            event.remove(Engine, "before_cursor_execute", count)
        return False

    statements = 0
    while broken_off(statements):
        assert (inspect(engine).get_table_names(), rows(engine, first)) == before
        statements += 1

    assert statements > 20
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == SHAPES[-1]


async def test_a_database_of_a_newer_version_is_refused_by_name(
    database: Database, database_url: str | None, tmp_path: Path
) -> None:
    async with database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreError, match=f"newer version of ecogate migrated.*9999.*knows {SHAPES[-1]}"):
        await open_database(database_url, tmp_path)


async def test_no_version_migrates_while_another_stores(
    database: Database, database_url: str | None, tmp_path: Path
) -> None:
    async with database.storing():
        opening = asyncio.create_task(open_database(database_url, tmp_path))
        await asyncio.sleep(0.5)
        assert not opening.done()

    await (await opening).close()


async def test_a_version_that_runs_while_a_newer_one_migrates_serves_on_and_leaves_usage_to_it(
    database_url: str | None, tmp_path: Path, redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(sql.MIGRATIONS, newer, ignore=shutil.ignore_patterns("__pycache__"))
    (newer / "versions" / "9999_next.py").write_text(NEXT.format(before=SHAPES[-1]))
    shared: dict[str, Any] = {} if database_url is None else {"database_url": SecretStr(database_url)}
    data = tmp_path / "data"

    async def waiting(entries: int) -> bool:
        return await redis.xlen(journal_key(ORG)) == entries

    async with gateway_running(tmp_path, redis_url, budgets=PLENTY, **shared) as gateway:
        before = await load(gateway.admin, per_s=10, seconds=1)
        await until(lambda: waiting(0))
        monkeypatch.setattr(sql, "MIGRATIONS", newer)
        opened = await open_database(database_url, data)
        try:
            after = await load(gateway.admin, per_s=10, seconds=1)
            assert set(before.statuses) == set(after.statuses) == {200}
            assert await gateway.key(team="older")
            assert (await gateway.admin.get("/readyz")).status_code == 200

            await until(lambda: waiting(10))
            assert await charged(opened) == 10

            found = await quiet(redis, opened)  # a consumer of the newer version

            assert found.differences == ()
            assert await charged(opened) == 20 == len(gateway.generations())
        finally:
            await opened.close()
