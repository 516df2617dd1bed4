"""Gateways as processes of their own, for tests that kill them or run several."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import yaml

from tests.ports import free_port
from tests.running import ADMIN_KEY, in_zone

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path
    from typing import Any

READY_WITHIN_S = 90


@dataclass(slots=True)
class GatewayProcess:
    """A gateway that listens at `url`; `log` has its standard error."""

    url: str
    process: asyncio.subprocess.Process
    log: Path

    def client(self, key: str = ADMIN_KEY) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"authorization": f"Bearer {key}"},
            timeout=30,
            trust_env=False,
            limits=httpx.Limits(max_connections=None),
        )

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit code, once there is one."""
        return await asyncio.wait_for(self.process.wait(), 30)


def write_files(
    directory: Path, services: dict[str, str], budgets: list[dict[str, Any]], concurrency: int | None = None
) -> tuple[Path, Path]:
    """A deployments file with one deployment per zone, and a policies folder."""
    capacity = {"concurrency": concurrency} if concurrency is not None else {}
    deployments = [in_zone(zone, base_url, capacity=capacity) for zone, base_url in services.items()]
    file, policies = directory / "deployments.yaml", directory / "policies"
    file.write_text(yaml.safe_dump({"deployments": deployments}))
    policies.mkdir(exist_ok=True)
    (policies / "budgets.yaml").write_text(yaml.safe_dump({"budgets": budgets}))
    return file, policies


@contextlib.asynccontextmanager
async def gateway_process(
    directory: Path,
    services: dict[str, str],
    *,
    budgets: list[dict[str, Any]],
    command: Sequence[str] = ("-m", "gateway", "serve"),
    concurrency: str = "",
    waits_for: str = "/readyz",
    **environment: str,
) -> AsyncIterator[GatewayProcess]:
    """A gateway whose `waits_for` answers 200; ended by SIGTERM, then SIGKILL, if the test did not end it."""
    directory.mkdir(exist_ok=True)
    file, policies = write_files(directory, services, budgets, int(concurrency) if concurrency else None)
    port = free_port()
    log = directory / "gateway.log"
    settings = {
        "ECOGATE_HOST": "127.0.0.1",
        "ECOGATE_PORT": str(port),
        "ECOGATE_DEPLOYMENTS": str(file),
        "ECOGATE_POLICIES": str(policies),
        "ECOGATE_DATA_DIR": str(directory / "data"),
        "ECOGATE_ADMIN_KEY": ADMIN_KEY,
        "ECOGATE_STORE_TIMEOUT_MS": "5000",
        **environment,
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(word.replace("PORT", str(port)) for word in command),
            env={**os.environ, **settings},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    running = GatewayProcess(f"http://127.0.0.1:{port}", process, log)
    try:
        await _until(running, waits_for)
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _until(running: GatewayProcess, path: str) -> None:
    async with running.client() as client, asyncio.timeout(READY_WITHIN_S):
        while True:
            if running.process.returncode is not None:
                raise RuntimeError(running.log.read_text())
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(path)).status_code == 200:
                    return
            await asyncio.sleep(0.05)
