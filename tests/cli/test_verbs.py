"""Every verb explains itself, without loading what it would need to work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.commands import ecogate

VERBS = ("serve", "demo", "check", "estimate", "usage", "openapi", "keys", "ledger")


@pytest.mark.parametrize(
    "words", [(), *((verb,) for verb in VERBS), *(("keys", verb) for verb in ("create", "list", "revoke"))]
)
def test_every_verb_has_help(words: tuple[str, ...]) -> None:
    result = ecogate(*words, "--help")

    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_the_help_of_the_command_lists_the_verbs() -> None:
    shown = ecogate("--help").stdout

    assert [verb for verb in VERBS if verb not in shown] == []


def test_an_unknown_verb_is_a_mistake() -> None:
    assert ecogate("sreve").exit_code == 2


def test_help_loads_no_heavy_module() -> None:
    heavy = ("litestar", "sqlalchemy", "redis", "httpx", "uvicorn", "pydantic", "opentelemetry")
    code = f"import sys, gateway.cli; print([name for name in {heavy!r} if name in sys.modules])"

    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert shown.stdout.strip() == "[]"
