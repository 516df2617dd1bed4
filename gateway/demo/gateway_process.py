"""Runs the real gateway as a child process, the way `ecogate serve` runs it, and stops it again.

The child gets its own session, so that Ctrl-C reaches only the demo, which then stops the child in order.
Refuses to know what the gateway answers beyond `/readyz`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

READY_WITHIN_S = 30.0
STOPPED_WITHIN_S = 15.0
LOG = "gateway.log"
_SHOWN_LOG_CHARACTERS = 4000


class GatewayDidNotStart(RuntimeError):
    """The gateway ended early or was not ready in time; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway that answers at `url` and writes to `log`."""

    url: str
    log: Path


def free_port(wanted: int | None) -> int:
    """`wanted` when it is free, else any free loopback port."""
    for port in (wanted, 0):
        if port is not None:
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)) as listener:
                return int(listener.getsockname()[1])
    raise OSError("no free loopback port")


@contextlib.asynccontextmanager
async def gateway_process(
    *, port: int, deployments: Path, policies: Path, data_dir: Path, admin_key: str
) -> AsyncIterator[RunningGateway]:
    """The gateway, ready, for the time of the block. Raises GatewayDidNotStart."""
    log = data_dir / LOG
    arguments = ["serve", "--host", "127.0.0.1", "--port", str(port), "--data-dir", str(data_dir / "state")]
    arguments += ["--deployments", str(deployments), "--policies", str(policies)]
    with log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            *arguments,
            env=_environment(admin_key),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    running = RunningGateway(f"http://127.0.0.1:{port}", log)
    try:
        await _until_ready(running, child)
        yield running
    finally:
        await asyncio.shield(_stop(child))


def _environment(admin_key: str) -> dict[str, str]:
    """The demo's own settings only: nothing of the user's gateway, no real OpenAI key."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ECOGATE_", "OPENAI_")) or name == "ECOGATE_REDIS_SERVER_BIN"
    }
    return {**kept, "ECOGATE_ADMIN_KEY": admin_key, "PYTHONUNBUFFERED": "1"}


async def _until_ready(running: RunningGateway, child: asyncio.subprocess.Process) -> None:
    reason = f"was not ready within {READY_WITHIN_S:g} s"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_WITHIN_S), httpx.AsyncClient(trust_env=False) as client:
            while child.returncode is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"{running.url}/readyz")).is_success:
                        return
                await asyncio.sleep(0.05)
            reason = f"ended with exit code {child.returncode}"
    raise GatewayDidNotStart(f"the gateway {reason}; its log:\n{log_tail(running.log.parent)}")


def log_tail(data_dir: Path) -> str:
    """The end of what the gateway in `data_dir` wrote."""
    log = data_dir / LOG
    return log.read_text(errors="replace")[-_SHOWN_LOG_CHARACTERS:] if log.exists() else ""


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    child.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOPPED_WITHIN_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
