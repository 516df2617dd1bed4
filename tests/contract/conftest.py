"""What needs the clients that `make contract` installs is not collected without them; the rest always is."""

from __future__ import annotations

import os

import pytest

from tests.contract.behind import SECRET

WITH_CLIENTS = ["test_clients.py", "test_conversations.py", "test_aimock.py"]
collect_ignore_glob = [] if "ECOGATE_CONTRACT" in os.environ else WITH_CLIENTS


@pytest.fixture(autouse=True)
def _credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the scripted service, as deployments refer to it."""
    monkeypatch.setenv("SCRIPTED_KEY", SECRET)
