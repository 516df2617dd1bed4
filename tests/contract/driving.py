"""Runs the clients that people use, each in its own process, against a gateway under test."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.running import Gateway

HERE = Path(__file__).parent
INSTALLED = Path(os.environ.get("ECOGATE_CONTRACT", "."))
NODE = str(INSTALLED / "openai1" / "bin" / "node")

CLIENTS: dict[str, list[str]] = {
    "openai-python": [sys.executable, str(HERE / "clients" / "openai_python.py")],
    "openai-python-1": [
        str(INSTALLED / "openai1" / "bin" / "python"),
        str(HERE / "clients" / "openai_python.py"),
    ],
    "openai-node": [NODE, str(INSTALLED / "node" / "openai_node.mjs")],
    "ai-sdk": [NODE, str(INSTALLED / "node" / "ai_sdk.mjs")],
    "litellm": [str(INSTALLED / "litellm" / "bin" / "python"), str(HERE / "clients" / "litellm_sdk.py")],
}
"""How each client is started; operation, base URL, key and model follow."""


async def drive(client: str, operation: str, gateway: Gateway, key: str, model: str) -> dict[str, Any]:
    """What a client reported about one operation."""
    result = await output([*CLIENTS[client], operation, f"{gateway.url}/v1", key, model])
    report: dict[str, Any] = json.loads(result.splitlines()[-1])
    return report


async def output(command: list[str]) -> str:
    """What a command printed. Fails with its complaints when it failed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(INSTALLED),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
    }
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
    )
    printed, complaints = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, complaints.decode()[-2000:]
    return printed.decode()
