from __future__ import annotations

import re
import stat
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import StoreError
from gateway.identity.keys import KEY_CHARACTERS, digest, mint, pepper, pepper_id, well_formed
from gateway.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_key_has_the_prefix_the_length_and_a_right_checksum() -> None:
    key = mint()

    assert re.fullmatch(r"egk_[0-9A-Za-z]{38}", key)
    assert well_formed(key)
    assert mint() != key


def test_any_one_changed_character_breaks_the_checksum() -> None:
    key = mint()

    for position in range(len(key)):
        changed = key[:position] + ("0" if key[position] != "0" else "1") + key[position + 1 :]
        assert not well_formed(changed)


@given(st.one_of(st.text(), st.text(min_size=KEY_CHARACTERS, max_size=KEY_CHARACTERS)))
def test_no_text_but_a_key_is_well_formed(text: str) -> None:
    assert not well_formed(text)
    assert not well_formed("egk_" + text)


def test_the_checksum_is_crc32_in_base_62() -> None:
    assert well_formed("egk_" + "0" * 32 + _base62_by_hand())


def _base62_by_hand() -> str:
    import binascii

    value = binascii.crc32(b"egk_" + b"0" * 32)
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return "".join(alphabet[value // 62**power % 62] for power in range(5, -1, -1))


def test_a_digest_depends_on_the_pepper_and_shows_nothing_of_the_key() -> None:
    key = mint()

    assert re.fullmatch(r"[0-9a-f]{64}", digest(b"one", key))
    assert digest(b"one", key) != digest(b"two", key)
    assert pepper_id(b"one") != pepper_id(b"two")
    assert digest(b"one", "\ud800 any text at all") != digest(b"one", "")


def test_the_pepper_is_made_once_and_is_for_the_owner_only(tmp_path: Path) -> None:
    first = pepper(tmp_path / "data", Settings())

    assert len(first) == 32
    assert pepper(tmp_path / "data", Settings()) == first
    assert stat.S_IMODE((tmp_path / "data" / "pepper").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["pepper"]


def test_processes_that_make_the_pepper_at_once_agree_on_one(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(pepper(tmp_path, Settings()))) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1


def test_the_pepper_of_the_settings_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECOGATE_KEY_PEPPER", "shared by all gateways")

    assert pepper(tmp_path, Settings()) == b"shared by all gateways"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_pepper_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_bytes(b"")

    with pytest.raises(StoreError, match="damaged"):
        pepper(tmp_path, Settings())
