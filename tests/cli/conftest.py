from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gateway.settings import Settings, variable

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands read the environment: it holds nothing of ours but what a test sets."""
    for name in [variable(field) for field in Settings.model_fields] + ["ECOGATE_KEY", "ECOGATE_URL"]:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    yield
    assert dict(os.environ) == before | {"PYTEST_CURRENT_TEST": os.environ["PYTEST_CURRENT_TEST"]}
