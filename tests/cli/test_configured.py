"""Settings that are wrong, as a command tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.commands import ecogate

if TYPE_CHECKING:
    from pathlib import Path


def test_every_wrong_variable_is_named_without_its_value(tmp_path: Path) -> None:
    result = ecogate(
        *("keys", "list", "--data-dir", str(tmp_path)),
        ECOGATE_ADMIN_KEY="too-short-secret",
        ECOGATE_LEASE_S="1",
    )

    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "ECOGATE_ADMIN_KEY: must have at least 32 characters",
        "ECOGATE_LEASE_S: Input should be greater than or equal to 5",
    ]


def test_an_empty_variable_is_one_that_is_not_set(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path))

    assert ecogate("keys", "list", *data, ECOGATE_DATABASE_URL="", ECOGATE_ADMIN_KEY="").exit_code == 0
