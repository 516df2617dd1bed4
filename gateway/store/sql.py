"""The SQL database: one SQLite file by default, PostgreSQL by URL, migrated to its newest shape when opened.

Invariant: `open_database` returns only when the tables have the shape that this version of the code expects,
however many processes open at once; a migration happens as a whole or not at all. A newer version may migrate
while this one runs: it still reads and writes, but for `storing`, which is left to the newer one. Knows
connections, transactions and migrations; it does not know what the rows mean.
"""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, NullPool, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql as postgres
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy import Connection, Engine, Executable, Table

FILE_NAME = "ecogate.sqlite3"
MIGRATIONS = Path(__file__).with_name("migrations")
BUSY_TIMEOUT_MS = 5_000
CONNECT_TIMEOUT_S = 5
POOL_TIMEOUT_S = 5
# Any constant will do, as long as every ecogate uses the same: "ecogate" in ASCII.
MIGRATION_LOCK = 0x65636F67617465
WRITES = {"ecogate_writes": True}
# Alembic keeps the migration under way in a global of the process.
_IN_THIS_PROCESS = threading.Lock()


@dataclass(frozen=True, slots=True)
class Database:
    """Connections to one database. Everything that goes wrong on the way there is a `StoreError`."""

    engine: AsyncEngine
    shape: str

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads."""
        with _store_errors():
            async with self.engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes: committed at the end of the block, rolled back by an exception."""
        with _store_errors():
            async with self.engine.connect() as connection:
                await connection.execution_options(**WRITES)
                async with connection.begin():
                    yield connection

    @asynccontextmanager
    async def storing(self) -> AsyncIterator[AsyncConnection]:
        """As `writing`, for what other versions may store otherwise: a newer one may keep sums of it, or
        columns that this one does not fill. Raises `StoreError` when another version has migrated the tables;
        until the end of the block none does."""
        async with self.writing() as connection:
            # SQLite has one writer anyway; on PostgreSQL a migration waits for this lock before all others.
            asked = "SELECT version_num FROM alembic_version"
            shape = await connection.scalar(text(f"{asked} FOR SHARE" if self.is_postgresql else asked))
            if shape != self.shape:
                msg = f"another version of ecogate migrated the SQL database ({shape}, not {self.shape})"
                raise StoreError(msg)
            yield connection

    @property
    def is_postgresql(self) -> bool:
        return self.engine.dialect.name == "postgresql"

    def insert(self, table: Table) -> postgres.Insert | sqlite.Insert:
        """An INSERT that knows `on_conflict_...` in the dialect of this database."""
        return _insert(table, postgresql=self.is_postgresql)

    def upsert(
        self, table: Table, keys: tuple[str, ...], *, replace: tuple[str, ...] = (), add: tuple[str, ...] = ()
    ) -> Executable:
        """An INSERT that, where a row has the same `keys`, replaces these columns and adds to those."""
        return _upsert(table, keys, replace, add, postgresql=self.is_postgresql)

    async def ping(self) -> None:
        """Raises `StoreError` when the database does not answer."""
        async with self.reading() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.engine.dispose()


def _insert(table: Table, *, postgresql: bool) -> postgres.Insert | sqlite.Insert:
    return postgres.insert(table) if postgresql else sqlite.insert(table)


@cache  # to build one takes longer than to execute it
def _upsert(
    table: Table, keys: tuple[str, ...], replace: tuple[str, ...], add: tuple[str, ...], *, postgresql: bool
) -> Executable:
    insert = _insert(table, postgresql=postgresql)
    new = insert.excluded
    changed = {name: new[name] for name in replace} | {name: table.c[name] + new[name] for name in add}
    return insert.on_conflict_do_update(index_elements=keys, set_=changed)


async def open_database(url: str | None, data_dir: Path) -> Database:
    """The database at `url`, or the SQLite file in `data_dir`, migrated.

    Raises `StoreError` for a URL of another kind, a missing driver and an unreachable server; its message
    never holds the URL, which may carry a password.
    """
    target = _target(url, data_dir)
    try:
        shape = await asyncio.to_thread(migrate, target)
        return Database(_engine(target), shape)
    except ModuleNotFoundError as error:
        msg = "PostgreSQL needs its driver: install ecogate[postgres]"
        raise StoreError(msg) from error
    except (SQLAlchemyError, OSError) as error:
        msg = f"the SQL database could not be opened ({_cause(error)})"
        raise StoreError(msg) from error


def migrate(target: URL, to: str = "head") -> str:
    """Bring the tables to the newest shape and answer its name. Processes that start together take turns.

    Raises `StoreError` for tables that a newer version has migrated.
    """
    engine = create_engine(_driver(target, is_async=False), poolclass=NullPool, hide_parameters=True)
    if target.get_backend_name() == "sqlite":
        _migrates_as_a_whole(engine)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    with _IN_THIS_PROCESS, _turn(target), engine.connect() as connection:
        _prepare(connection)
        shape = MigrationContext.configure(connection).get_current_revision()
        if shape is not None and shape not in known:
            msg = f"a newer version of ecogate migrated the SQL database ({shape}; this one knows {known[0]})"
            raise StoreError(msg)
        config.attributes["connection"] = connection
        command.upgrade(config, to)
        connection.commit()
    return known[0]


def _migrates_as_a_whole(engine: Engine) -> None:
    """The driver's own transactions begin with the first row, so behind altered tables."""

    @event.listens_for(engine, "connect")
    def _connected(dbapi_connection: Any, _: Any) -> None:
        dbapi_connection.isolation_level = None
        # Asking for the journal's mode without the lock can fail although a timeout is set.
        dbapi_connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        dbapi_connection.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _turn(target: URL) -> Iterator[None]:
    """Hold the file lock that stands beside a SQLite file; PostgreSQL has its own lock, see `_prepare`."""
    if target.get_backend_name() != "sqlite" or target.database is None:
        yield
        return
    path = Path(target.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prepare(connection: Connection) -> None:
    """On PostgreSQL: one migration at a time, and none while somebody is `storing`."""
    if connection.dialect.name != "postgresql":
        return
    # Held by the session, which ends with the migration: this engine pools nothing.
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
    connection.commit()
    if connection.scalar(text("SELECT to_regclass('alembic_version')")) is not None:
        connection.execute(text("LOCK TABLE alembic_version IN EXCLUSIVE MODE"))


def _target(url: str | None, data_dir: Path) -> URL:
    if url is None:
        return URL.create("sqlite", database=str(data_dir / FILE_NAME))
    try:
        target = make_url(url)
    except ArgumentError as error:
        msg = "the database URL cannot be read"
        raise StoreError(msg) from error
    scheme = target.drivername.split("+")[0]
    if scheme in {"postgresql", "postgres"}:
        return target.set(drivername="postgresql")
    if scheme == "sqlite" and target.database not in {None, "", ":memory:"}:
        return target.set(drivername="sqlite")
    msg = "the database URL must begin with postgresql:// or be sqlite:/// with a file"
    raise StoreError(msg)


def _driver(target: URL, *, is_async: bool) -> URL:
    if target.drivername == "postgresql":
        url = target.set(drivername="postgresql+psycopg")
        if "connect_timeout" in url.query:
            return url
        return url.update_query_dict({"connect_timeout": str(CONNECT_TIMEOUT_S)})
    return target.set(drivername="sqlite+aiosqlite" if is_async else "sqlite+pysqlite")


def _engine(target: URL) -> AsyncEngine:
    url = _driver(target, is_async=True)
    if target.drivername == "postgresql":
        return create_async_engine(url, hide_parameters=True, pool_pre_ping=True, pool_timeout=POOL_TIMEOUT_S)
    engine = create_async_engine(url, hide_parameters=True, pool_timeout=POOL_TIMEOUT_S)

    # The driver's own transactions begin late and as readers, which then cannot always become writers.
    @event.listens_for(engine.sync_engine, "connect")
    def _connected(dbapi_connection: Any, _: Any) -> None:
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA foreign_keys = ON")
        # A journal entry leaves Redis once it is committed here, so a commit must survive a power cut.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("ecogate_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    # A call that is cancelled in the middle of a statement ends with its connection closed, but SQLite keeps
    # the transaction, and so the lock, for as long as somebody still refers to a cursor: end it first.
    @event.listens_for(engine.sync_engine, "invalidate")
    def _given_up(dbapi_connection: Any, *_: Any) -> None:
        with suppress(sqlite3.Error, ValueError):
            dbapi_connection.rollback()

    return engine


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, OSError) as error:
        msg = f"the SQL database did not answer ({_cause(error)})"
        raise StoreError(msg) from error


def _cause(error: BaseException) -> str:
    """The kind of the error alone: messages of drivers may hold addresses, statements and values."""
    return type(getattr(error, "orig", None) or error).__name__
