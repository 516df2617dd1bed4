"""The embedded store as processes see it: one server per data directory, no orphan, nothing lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from redis import Redis
from redis.exceptions import RedisError

from gateway.errors import StoreError
from gateway.store import valkey
from gateway.store.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Callable

GATEWAY = """
import sys, time
from pathlib import Path
from redis import Redis
from gateway.store.valkey import EmbeddedValkey

store = EmbeddedValkey.start(Path(sys.argv[1]))
with Redis.from_url(store.url) as redis:
    for _ in range(1000):
        redis.incr("settled")
    print(redis.info("server")["process_id"], store.owned, flush=True)
if sys.argv[2] == "stay":
    time.sleep(60)
"""


def pid_of(store: EmbeddedValkey) -> int:
    with Redis.from_url(store.url) as redis:
        return int(redis.info("server")["process_id"])


def alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def until(fact: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_it_starts_empty_answers_on_its_socket_and_is_gone_after_stop(tmp_path: Path) -> None:
    with EmbeddedValkey.start(tmp_path) as store:
        pid = pid_of(store)
        with Redis.from_url(store.url) as redis:
            assert redis.dbsize() == 0
            assert redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert redis.config_get("append*")["appendonly"] == "yes"
            assert redis.config_get("appendfsync") == {"appendfsync": "everysec"}
            assert redis.config_get("port") == {"port": "0"}

    assert not alive(pid)
    assert not (tmp_path / "valkey" / "s.sock").exists()
    store.stop()


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    with EmbeddedValkey.start(tmp_path) as store, Redis.from_url(store.url) as redis:
        redis.set("spent", 7)

    with EmbeddedValkey.start(tmp_path, fsync="always") as store, Redis.from_url(store.url) as redis:
        assert redis.get("spent") == b"7"
        assert redis.config_get("appendfsync") == {"appendfsync": "always"}


def test_only_the_owner_may_enter_its_directory_and_socket(tmp_path: Path) -> None:
    with EmbeddedValkey.start(tmp_path):
        assert (tmp_path / "valkey").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "valkey" / "s.sock").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["with space", "percent%20", "été", "d" * 120])
def test_any_data_directory_will_do(tmp_path: Path, name: str) -> None:
    with EmbeddedValkey.start(tmp_path / name) as store, Redis.from_url(store.url) as redis:
        assert redis.ping()
        with EmbeddedValkey.start(tmp_path / name) as other:
            assert other.url == store.url
    assert not Path(unquote(store.url.removeprefix("unix://"))).exists()


def test_a_second_process_attaches_and_leaves_the_server_running(tmp_path: Path) -> None:
    with EmbeddedValkey.start(tmp_path) as store:
        other = subprocess.run(
            [sys.executable, "-c", GATEWAY, str(tmp_path), "leave"],
            check=True,
            capture_output=True,
            text=True,
        )

        assert other.stdout.split() == [str(pid_of(store)), "False"]


def test_several_processes_that_start_at_once_share_one_server(tmp_path: Path) -> None:
    gateways = [
        subprocess.Popen(
            [sys.executable, "-c", GATEWAY, str(tmp_path), "stay"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        answers = [gateway.stdout.readline().split() for gateway in gateways if gateway.stdout]
    finally:
        for gateway in gateways:
            gateway.kill()
            gateway.communicate()

    assert len({pid for pid, _ in answers}) == 1
    assert sorted(owned for _, owned in answers) == ["False", "False", "True"]
    assert until(lambda: not alive(int(answers[0][0])))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_gateway_leaves_no_orphan_and_loses_nothing(tmp_path: Path, end: signal.Signals) -> None:
    gateway = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(tmp_path), "stay"], stdout=subprocess.PIPE, text=True
    )
    assert gateway.stdout is not None
    pid = int(gateway.stdout.readline().split()[0])
    gateway.send_signal(end)
    gateway.communicate()

    with EmbeddedValkey.start(tmp_path) as store, Redis.from_url(store.url) as redis:
        assert redis.get("settled") == b"1000"
        assert store.owned
        if sys.platform == "linux":  # elsewhere the orphan is adopted, see below
            assert pid_of(store) != pid
            assert not alive(pid)


def test_ctrl_c_does_not_reach_the_server(tmp_path: Path) -> None:
    with EmbeddedValkey.start(tmp_path) as store:
        assert os.getsid(pid_of(store)) != os.getsid(0)


def test_a_server_that_dies_is_started_again_with_its_data(tmp_path: Path) -> None:
    with EmbeddedValkey.start(tmp_path) as store, Redis.from_url(store.url, retry=None) as redis:
        redis.set("spent", 7)
        os.kill(pid_of(store), signal.SIGKILL)

        def spent() -> bool:
            try:
                return bool(redis.get("spent") == b"7")
            except RedisError:
                return False

        assert until(spent)


def test_a_server_started_from_a_short_lived_thread_outlives_it(tmp_path: Path) -> None:
    started: list[EmbeddedValkey] = []
    thread = threading.Thread(target=lambda: started.append(EmbeddedValkey.start(tmp_path)))
    thread.start()
    thread.join()

    with started[0] as store:
        pid = pid_of(store)
        time.sleep(0.1)
        assert pid_of(store) == pid


def test_a_forked_child_of_the_owner_does_not_stop_the_server(tmp_path: Path) -> None:
    with EmbeddedValkey.start(tmp_path) as store:
        child = multiprocessing.get_context("fork").Process(target=store.stop)
        child.start()
        child.join()

        assert pid_of(store)


def test_a_server_whose_owner_is_gone_and_that_stays_is_adopted_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, where nothing tells the child that its parent died."""
    gateway = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from gateway.store import valkey; valkey.die_with_parent = lambda: None\n" + GATEWAY,
            *(str(tmp_path), "stay"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert gateway.stdout is not None
    orphan = int(gateway.stdout.readline().split()[0])
    gateway.kill()
    gateway.communicate()
    monkeypatch.setattr(valkey, "ORPHAN_DEADLINE_S", 0.1)

    with EmbeddedValkey.start(tmp_path) as store:
        assert store.owned
        assert pid_of(store) == orphan

    assert not alive(orphan)


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "STOP_DEADLINE_S", 0.2)
    store = EmbeddedValkey.start(tmp_path)
    pid = pid_of(store)
    os.kill(pid, signal.SIGSTOP)

    store.stop()

    assert not alive(pid)


def test_a_server_that_cannot_read_its_file_is_told_with_its_last_words(tmp_path: Path) -> None:
    with EmbeddedValkey.start(tmp_path) as store, Redis.from_url(store.url) as redis:
        redis.set("spent", 7)
    for part in (tmp_path / "valkey" / "appendonlydir").glob("*.incr.aof"):
        part.write_bytes(b"this is not an append-only file\r\n" * 3)

    with pytest.raises(StoreError, match=r"exited with 1 at start: .*Bad file format"):
        EmbeddedValkey.start(tmp_path)


def test_a_program_that_is_no_server_is_told(tmp_path: Path) -> None:
    program = tmp_path / "not-valkey"
    program.write_text("#!/bin/sh\necho no such option\nexit 3\n")
    program.chmod(0o755)

    with pytest.raises(StoreError, match="exited with 3 at start: no such option"):
        EmbeddedValkey.start(tmp_path / "data", binary=program)
    with EmbeddedValkey.start(tmp_path / "data") as store:
        assert store.owned


def test_a_data_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="cannot be used"):
        EmbeddedValkey.start(tmp_path / "file")


def test_the_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "LARGEST_LOG_BYTES", 100)
    log = tmp_path / "valkey" / "server.log"
    for _ in range(2):
        with EmbeddedValkey.start(tmp_path):
            pass
    assert log.read_text().count("Ready to accept connections") == 1
