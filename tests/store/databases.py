"""Databases for tests: a fresh SQLite file and, where a server binary is installed, a fresh PostgreSQL.

Continuous integration must have PostgreSQL: with `CI` set and no binary the tests fail instead of shrinking.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from gateway.store.sql import Database, open_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_numbers = itertools.count()


def postgres_bin() -> Path | None:
    """The directory with `initdb` and `postgres`, newest version first."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    for candidate in reversed(installed):
        if (candidate / "initdb").exists():
            return candidate
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


KINDS = ["sqlite", "postgresql"] if postgres_bin() or "CI" in os.environ else ["sqlite"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server on a unix socket; yields the directory of the socket."""
    binaries = postgres_bin()
    assert binaries is not None, "continuous integration needs PostgreSQL"
    root = Path(tempfile.mkdtemp(prefix="ecopg"))
    # PostgreSQL refuses to run as root, which containers often are.
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        account = pwd.getpwnam(user)
        os.chown(root, account.pw_uid, account.pw_gid)
    initdb = [str(binaries / "initdb"), "-D", str(root / "db"), "-U", "postgres", "-A", "trust", "-N"]
    initdb += ["-E", "UTF8", "--locale=C"]
    subprocess.run(initdb, check=True, user=user, stdout=subprocess.DEVNULL, cwd=root)
    server = subprocess.Popen(
        [binaries / "postgres", "-D", root / "db", "-k", root, "-h", "", "-F", "-c", "max_connections=60"],
        user=user,
        cwd=root,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(root)
        yield str(root)
    finally:
        server.send_signal(signal.SIGINT)  # a fast shutdown: a client that is left open does not hold it up
        server.wait(60)
        shutil.rmtree(root)


def _wait(root: Path) -> None:
    for _ in range(200):
        try:
            psycopg.connect(host=str(root), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("PostgreSQL did not start")


def fresh_postgres_url(socket_dir: str) -> str:
    """The URL of a new, empty database on the test server."""
    name = f"t{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(host=socket_dir, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"postgresql://postgres@/{name}?host={socket_dir}"


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """The URL of an empty database of each kind; `None` stands for the file in the data directory."""
    if request.param == "sqlite":
        return None
    return fresh_postgres_url(request.getfixturevalue("postgres"))


@pytest.fixture
async def database(database_url: str | None, tmp_path: Path) -> AsyncIterator[Database]:
    """An open, empty database of each kind."""
    opened = await open_database(database_url, tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite_database(tmp_path: Path) -> AsyncIterator[Database]:
    """An open, empty SQLite database, for tests of what stands above SQL."""
    opened = await open_database(None, tmp_path)
    yield opened
    await opened.close()
