"""The embedded store: a Valkey server that runs as a child of the gateway, in the data directory.

Invariant: at most one server has the directory open, because the server process itself holds `server.lock`
for as long as it lives. The gateway process that started it holds `owner.lock`; further processes attach.
Knows processes, sockets and locks; refuses to know what is stored.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from gateway.errors import StoreError
from gateway.store.server import Fsync, die_with_parent, find_server, server_command

if TYPE_CHECKING:
    from types import TracebackType

START_DEADLINE_S = 60.0  # reading a long append-only file takes seconds
STOP_DEADLINE_S = 5.0
ORPHAN_DEADLINE_S = 6.0  # a server whose gateway was killed writes its file and leaves within a second
POLL_S = 0.005
RESTART_PAUSE_S = 0.5
LONGEST_SOCKET_PATH = 103  # bytes; macOS allows 104 with the final NUL, Linux 108
LARGEST_LOG_BYTES = 1_000_000

_log = logging.getLogger(__name__)


class EmbeddedValkey:
    """A server in `data_dir/valkey`: started here, or attached to when another process started it.

    Starting and stopping block, so both belong before and after the event loop. A server that exits on its
    own is started again; what it held is in the append-only file. `url` is for `connection.connect`.
    """

    def __init__(self, directory: Path, socket: Path) -> None:
        """Use `start`, which decides between starting, attaching and adopting."""
        self._directory = directory
        self._socket = socket
        self._command: list[str] = []
        self._owner_lock: int | None = None
        self._owner_pid = os.getpid()
        self._adopted_pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._ready = False
        self._stopping = threading.Event()
        self._failure: str | None = None

    @classmethod
    def start(cls, data_dir: Path, *, binary: Path | None = None, fsync: Fsync = "everysec") -> Self:
        """Start a server for this data directory, or attach to the one that another process runs there.

        `binary` is the setting `redis_server_bin`. `fsync` `always` survives a power cut without losing the
        last second, at about a thirtieth of the throughput. Raises StoreError when there is no server
        to run, when it exits, or when it does not answer within START_DEADLINE_S.
        """
        directory = data_dir.absolute() / "valkey"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            msg = f"the data directory {data_dir} cannot be used: {error}"
            raise StoreError(msg) from error
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            owner_lock = _lock(directory / "owner.lock")
            if owner_lock is not None:
                return cls._own(directory, owner_lock, binary, fsync, deadline)
            socket = _recorded_socket(directory)
            if socket is not None and _server_pid(socket) is not None:
                return cls(directory, socket)
            if time.monotonic() > deadline:
                msg = f"another gateway process owns {directory}, but its store does not answer"
                raise StoreError(msg)
            time.sleep(POLL_S)

    @classmethod
    def _own(
        cls, directory: Path, owner_lock: int, binary: Path | None, fsync: Fsync, deadline: float
    ) -> Self:
        try:
            orphan = _wait_for_orphan(directory)
            if orphan is not None:
                store = cls(directory, orphan[0])
                store._adopted_pid = orphan[1]
            else:
                store = cls(directory, _new_socket(directory))
                store._command = server_command(find_server(binary), directory, store._socket, fsync)
                store._keeper = threading.Thread(target=store._keep, name="valkey-keeper", daemon=True)
                store._keeper.start()
                store._wait_until_ready(deadline)
        except BaseException:
            os.close(owner_lock)
            raise
        store._owner_lock = owner_lock
        atexit.register(store.stop)
        return store

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}"

    @property
    def owned(self) -> bool:
        """Whether this process started (or adopted) the server and will stop it."""
        return self._owner_lock is not None

    def stop(self) -> None:
        """End the server that this process owns: SIGTERM, which flushes its file, then SIGKILL after 5 s.

        Does nothing when attached, when called again, and in a forked child of the owner.
        """
        if self._owner_lock is None or os.getpid() != self._owner_pid:
            return
        self._end_server()
        _remove_socket(self._directory, self._socket)
        os.close(self._owner_lock)
        self._owner_lock = None
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _end_server(self) -> None:
        self._stopping.set()
        if self._keeper is not None:
            if self._process is not None:
                self._process.terminate()
            self._keeper.join(STOP_DEADLINE_S)
            if self._keeper.is_alive() and self._process is not None:
                self._process.kill()
            self._keeper.join()
        elif self._adopted_pid is not None:
            for end in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._adopted_pid, end)
                server_lock = _wait_for_lock(self._directory / "server.lock", STOP_DEADLINE_S)
                if server_lock is not None:
                    os.close(server_lock)
                    return

    def _keep(self) -> None:
        """Run the server and start it again when it exits on its own.

        A thread of its own because Linux sends the death signal when the *thread* that forked ends, and
        `start` may well be called from a short-lived one.
        """
        while not self._stopping.is_set():
            try:
                self._process = self._spawn()
            except (OSError, subprocess.SubprocessError, StoreError) as error:
                self._failure = f"the store's server could not be started: {error}"
                if not self._ready:
                    return
                _log.exception("the embedded store could not be started again")
                self._stopping.wait(RESTART_PAUSE_S)
                continue
            code = self._process.wait()
            if self._stopping.is_set():
                return
            if not self._ready:
                self._failure = f"the store's server exited with {code} at start: {self._last_words()}"
                return
            _log.error("the embedded store exited with %s and is started again: %s", code, self._last_words())
            self._stopping.wait(RESTART_PAUSE_S)

    def _spawn(self) -> subprocess.Popen[bytes]:
        server_lock = _wait_for_lock(self._directory / "server.lock", ORPHAN_DEADLINE_S)
        if server_lock is None:
            msg = f"another server has {self._directory} open"
            raise StoreError(msg)
        log = self._directory / "server.log"
        too_long = log.exists() and log.stat().st_size > LARGEST_LOG_BYTES
        try:
            with log.open("wb" if too_long else "ab") as output:
                return subprocess.Popen(  # noqa: S603 - our own binary and arguments, no shell
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self._directory,
                    start_new_session=True,  # Ctrl-C must not reach it before the gateway has drained
                    preexec_fn=die_with_parent(),  # noqa: PLW1509 - one resolved C call, no locks taken
                    pass_fds=(server_lock,),  # the lock then lives exactly as long as the server
                )
        finally:
            os.close(server_lock)

    def _wait_until_ready(self, deadline: float) -> None:
        while _server_pid(self._socket) is None:
            if self._failure is not None:
                raise StoreError(self._failure)
            if time.monotonic() > deadline:
                self._end_server()
                msg = f"the store's server did not answer in time: {self._last_words()}"
                raise StoreError(msg)
            time.sleep(POLL_S)
        self._ready = True

    def _last_words(self) -> str:
        try:
            lines = (self._directory / "server.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return " / ".join(lines[-3:]) or "it said nothing"


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed, or None while another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _wait_for_lock(path: Path, seconds: float) -> int | None:
    deadline = time.monotonic() + seconds
    while (descriptor := _lock(path)) is None and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return descriptor


def _wait_for_orphan(directory: Path) -> tuple[Path, int] | None:
    """Socket and process id of a server whose owner is gone and which stays; None once there is none.

    On Linux such a server is about to leave, so it gets the time; elsewhere it stays, and is adopted.
    """
    patience_s = ORPHAN_DEADLINE_S if sys.platform == "linux" else 0
    server_lock = _wait_for_lock(directory / "server.lock", patience_s)
    if server_lock is not None:
        os.close(server_lock)
        return None
    socket = _recorded_socket(directory)
    pid = _server_pid(socket) if socket is not None else None
    if socket is None or pid is None:
        msg = f"another server has {directory} open and does not answer"
        raise StoreError(msg)
    return socket, pid


def _recorded_socket(directory: Path) -> Path | None:
    """Where the owner said that the socket is; None before it has."""
    try:
        return Path((directory / "socket").read_text())
    except FileNotFoundError:
        return None


def _new_socket(directory: Path) -> Path:
    """The path of the socket, recorded for those who attach; elsewhere when the directory's is too long."""
    before = _recorded_socket(directory)
    if before is not None:
        _remove_socket(directory, before)
    socket = directory / "s.sock"
    if len(os.fsencode(socket)) > LONGEST_SOCKET_PATH:
        socket = Path(tempfile.mkdtemp(prefix="ecogate-")) / "s.sock"
    draft = directory / "socket.draft"
    draft.write_text(str(socket))
    draft.replace(directory / "socket")
    return socket


def _remove_socket(directory: Path, socket: Path) -> None:
    with contextlib.suppress(OSError):
        socket.unlink()
    if socket.parent != directory:
        with contextlib.suppress(OSError):
            socket.parent.rmdir()


def _server_pid(socket: Path) -> int | None:
    """The process id of the server that answers there; None while none does or while it reads its file."""
    server = Redis(unix_socket_path=str(socket), socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
    try:
        server.ping()
        return int(server.info("server")["process_id"])
    except (RedisError, OSError):
        return None
    finally:
        server.close()
