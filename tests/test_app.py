"""How the gateway starts: from which files and variables, and what it says when they are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from gateway.app import create_app
from gateway.errors import ConfigError
from gateway.settings import Settings
from tests.running import budget, gateway_running

if TYPE_CHECKING:
    from pathlib import Path


DEPLOYMENTS = """\
deployments:
  - id: one
    model: m
    base_url: http://127.0.0.1/v1
    location: {zone: ZZ}
"""


def settings(tmp_path: Path, **fields: object) -> Settings:
    return Settings.model_validate({"data_dir": tmp_path / "data", **fields})


def test_with_nothing_to_send_to_the_gateway_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(ConfigError, match="nothing to send to"):
        create_app(settings(tmp_path))


def test_the_mistakes_of_all_files_come_together(tmp_path: Path) -> None:
    (tmp_path / "deployments.yaml").write_text("deployments: 5\n")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "p.yaml").write_text("budgets: 6\n")

    with pytest.raises(ConfigError) as wrong:
        create_app(
            settings(tmp_path, deployments=tmp_path / "deployments.yaml", policies=tmp_path / "policies")
        )

    assert [problem.line for problem in wrong.value.problems] == [1, 1]
    assert "deployments.yaml:1:14: " in str(wrong.value)
    assert "p.yaml:1:10: " in str(wrong.value)


@pytest.mark.parametrize(
    "key",
    [
        "short",
        "x" * 40,
        "changeme" * 5,
        "your-admin-key-goes-here-0123456789",
        "${ECOGATE_ADMIN_KEY_HERE_000}",
    ],
)
def test_a_placeholder_is_no_admin_key(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(tmp_path, admin_key=key)

    assert key not in str(refused.value)


def test_any_other_string_of_32_characters_is_an_admin_key(tmp_path: Path) -> None:
    assert settings(tmp_path, admin_key="my-secret-admin-key-for-the-tests-1").admin_key


async def test_readiness_tells_what_is_in_force(tmp_path: Path, redis_url: str) -> None:
    async with gateway_running(tmp_path, redis_url, budgets=[budget()]) as gateway:
        ready = await gateway.admin.get("/readyz")
        alive = await gateway.admin.get("/healthz")

    assert ready.status_code == 200
    body = ready.json()
    assert body["checks"] == {"ledger": "ok", "database": "ok", "background": "ok"}
    assert body["policies"]["budgets"] == 1
    assert body["deployments"] == ["flux-se", "flux-pl"]
    assert alive.json() == {"status": "alive"}
