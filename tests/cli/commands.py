"""The command as tests run it: in this process, with its two outputs apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

from gateway.cli import app

if TYPE_CHECKING:
    from typer.testing import Result


def ecogate(*words: str, **environment: str) -> Result:
    """What `ecogate WORDS` did. A traceback instead of an exit is raised."""
    result = CliRunner().invoke(app, words, env=environment, catch_exceptions=False)
    assert "Traceback" not in result.output
    return result
