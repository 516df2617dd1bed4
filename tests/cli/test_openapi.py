"""`ecogate openapi`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.app import describe
from tests.cli.commands import ecogate

if TYPE_CHECKING:
    from pathlib import Path


def test_the_description_is_printed_or_written(tmp_path: Path) -> None:
    file = tmp_path / "api.yaml"

    assert ecogate("openapi").stdout == describe()
    assert ecogate("openapi", "--output", str(file)).stdout == ""
    assert file.read_text() == describe()


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    result = ecogate("openapi", "--output", str(tmp_path / "no" / "api.yaml"))

    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
