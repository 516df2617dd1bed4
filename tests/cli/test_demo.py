"""`ecogate demo`. What it does is tested beside its parts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.cli.commands import ecogate

if TYPE_CHECKING:
    import pytest


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gateway.demo.run", raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    for name in [name for name in sys.modules if name.startswith("gateway.demo.")]:
        monkeypatch.delitem(sys.modules, name)

    result = ecogate("demo", "--exit")

    assert result.exit_code == 2
    assert "install ecogate[demo]" in result.stderr
