"""`ecogate serve`, as a process: it changes its environment and its signals. How it serves is in `e2e`."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def serve(directory: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "gateway",
            "serve",
            "--port",
            "0",
            "--data-dir",
            str(directory / "data"),
            *words,
        ],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_wrong_files_end_it_with_every_place(tmp_path: Path) -> None:
    deployments, policies = tmp_path / "deployments.yaml", tmp_path / "policies"
    deployments.write_text("deployments:\n  - id: one\n    model: m\n    base_url: ftp://x\n")
    policies.mkdir()
    (policies / "a.yaml").write_text("budgets: 1\n")

    ended = serve(tmp_path, "--deployments", str(deployments), "--policies", str(policies))

    assert ended.returncode == 2
    assert ended.stdout == ""
    places = [":".join(line.split(":")[:3]) for line in ended.stderr.splitlines()]
    assert places == [f"{deployments}:4:15", f"{policies / 'a.yaml'}:1:10"]
    assert not (tmp_path / "data").exists()


def test_wrong_variables_end_it_by_name(tmp_path: Path) -> None:
    ended = serve(tmp_path, ECOGATE_ADMIN_KEY="a-secret-that-is-short")

    assert ended.returncode == 2
    assert ended.stderr == "ECOGATE_ADMIN_KEY: must have at least 32 characters\n"


def test_nothing_to_send_to_ends_it_with_advice(tmp_path: Path) -> None:
    ended = serve(tmp_path)

    assert ended.returncode == 2
    assert "OPENAI_API_KEY" in ended.stderr
