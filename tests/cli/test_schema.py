"""`ecogate schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from gateway.file_schemas import as_text
from tests.cli.commands import ecogate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["policies", "deployments"])
def test_the_schema_is_printed_or_written(kind: Literal["policies", "deployments"], tmp_path: Path) -> None:
    file = tmp_path / "schema.json"

    assert ecogate("schema", kind).stdout == as_text(kind)
    assert ecogate("schema", kind, "--output", str(file)).stdout == ""
    assert file.read_text() == as_text(kind)


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    result = ecogate("schema", "policies", "--output", str(tmp_path / "no" / "schema.json"))

    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
