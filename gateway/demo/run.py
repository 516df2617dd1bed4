"""`ecogate demo`: everything on this machine, a few requests, one refusal, and where to look next.

Starts three stand-in image services and the real gateway, tells what happens while it happens, and checks
every step. It uses no account, no key and no server of anybody's. All state lies in a temporary folder that
is removed at the end; the pictures stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import secrets
import signal
import tempfile
import time
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from gateway.demo import report
from gateway.demo.gateway_process import GatewayDidNotStart, RunningGateway, free_port, gateway_process
from gateway.demo.serving import Running, serving
from gateway.demo.standin import StandInSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PICTURES = Path("data/demo")
PORT = 8080
ZONES = ("SE", "FR", "PL")
SECONDS_PER_IMAGE = 0.5
_UPSTREAM_MODEL = "black-forest-labs/FLUX.1-dev"


@dataclass(frozen=True, slots=True)
class Demo:
    """One run. `leave` ends it after the checks; `port` is the wanted one, None for any."""

    console: Console
    pictures: Path
    port: int | None
    leave: bool
    started: float = field(default_factory=time.monotonic)

    def tell(self, text: str) -> None:
        """A line with the seconds since the start."""
        seconds = f"{time.monotonic() - self.started:5.1f} s"
        self.console.print(f"[dim]{seconds}[/]  {escape(text)}", highlight=False, soft_wrap=True)

    async def run(self, folder: Path) -> int:
        """Starts everything, tells the story, stops everything; the exit code."""
        report.introduction(self.console)
        admin_key = secrets.token_urlsafe(32)
        async with contextlib.AsyncExitStack() as stack:
            standins = [await stack.enter_async_context(serving(_standin(zone))) for zone in ZONES]
            self.tell(f"three stand-in image services are up: {', '.join(ZONES)}")
            # The openai client takes long to import: meanwhile the gateway starts.
            importing = asyncio.create_task(asyncio.to_thread(importlib.import_module, "openai"))
            gateway = await stack.enter_async_context(self._gateway(folder, standins, admin_key))
            self.tell(f"the gateway is ready at {gateway.url}, with an embedded Valkey and SQLite")
            await importing
            from gateway.demo.walk import walk

            held = await walk(self, gateway, standins, admin_key)
            if not self.leave:
                self.console.print("\nEverything keeps running. Ctrl-C stops it.")
                await asyncio.Event().wait()
        self.tell("everything is stopped")
        return 0 if held else 1

    @contextlib.asynccontextmanager
    async def _gateway(
        self, folder: Path, standins: list[Running], admin_key: str
    ) -> AsyncIterator[RunningGateway]:
        with as_file(files("gateway.demo") / "files" / "policies") as policies:
            process = gateway_process(
                port=free_port(self.port),
                deployments=_write_deployments(folder, standins),
                policies=policies,
                data_dir=folder,
                admin_key=admin_key,
            )
            status = self.console.status("starting the gateway, Valkey and SQLite")
            status.start()
            try:
                async with process as gateway:
                    status.stop()
                    yield gateway
            finally:
                status.stop()


def run_demo(*, leave: bool = False, port: int | None = PORT, pictures: Path = PICTURES) -> int:
    """Runs the demo; the exit code is 0 when every check held.

    `leave` ends it after the checks, else it runs until Ctrl-C. `port` is the gateway's; a free one is taken
    when it is busy. `pictures` is where the images are written.
    """
    console = Console()
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ecogate-demo-") as folder:
        try:
            return asyncio.run(_stoppable(Demo(console, pictures, port, leave), Path(folder)))
        except GatewayDidNotStart as failure:
            report.failure(console, failure, "")
            return 1


async def _stoppable(demo: Demo, folder: Path) -> int:
    """Runs the demo; SIGINT, SIGTERM and SIGHUP end it in order, in the middle of a step too."""
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(demo.run(folder))

    def end() -> None:
        for name in signals:
            loop.remove_signal_handler(name)
            signal.signal(name, signal.SIG_IGN)
        demo.console.print("\nstopping")
        work.cancel()

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for name in signals:
        loop.add_signal_handler(name, end)
    try:
        return await work
    except asyncio.CancelledError:
        return 1 if demo.leave else 0


def _standin(zone: str) -> StandInSettings:
    return StandInSettings(
        zone=zone, model=_UPSTREAM_MODEL, seconds_per_image=SECONDS_PER_IMAGE, usage="tokens"
    )


def _write_deployments(folder: Path, standins: list[Running]) -> Path:
    text = (files("gateway.demo") / "files" / "deployments.yaml").read_text()
    for standin in standins:
        text = text.replace(f"PORT_{standin.standin.settings.zone}", str(standin.port))
    written = folder / "deployments.yaml"
    written.write_text(text)
    return written
