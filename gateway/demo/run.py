"""`ecogate demo`: everything on this machine, a few requests, one refusal, and where to look next.

Starts three stand-in image services and the real gateway, tells what happens while it happens, and checks
every step. It uses no account, no key and no server of anybody's. All state lies in a temporary folder that
is removed at the end; the pictures stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import tempfile
import time
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import httpx
import openai
from rich.console import Console
from rich.markup import escape

from gateway.demo import report
from gateway.demo.gateway_process import GatewayDidNotStart, free_port, gateway_process, log_tail
from gateway.demo.serving import Running, serving
from gateway.demo.standin import StandInSettings
from gateway.demo.story import (
    ASKS,
    Delivered,
    Facts,
    Guest,
    ask_for,
    ask_too_much,
    check_books,
    check_pages,
    guest,
    issue_key,
)

PICTURES = Path("data/demo")
PORT = 8080
ZONES = ("SE", "FR", "PL")
SECONDS_PER_IMAGE = 0.5
_UPSTREAM_MODEL = "black-forest-labs/FLUX.1-dev"


@dataclass(slots=True)
class _Demo:
    """One run. `steps` tell what happens, with the seconds since the start."""

    console: Console
    pictures: Path
    port: int | None
    leave: bool
    started: float = field(default_factory=time.monotonic)
    facts: Facts = field(default_factory=Facts)

    def tell(self, text: str) -> None:
        seconds = time.monotonic() - self.started
        self.console.print(f"[dim]{seconds:5.1f} s[/]  {escape(text)}", highlight=False)

    async def run(self, folder: Path) -> int:
        report.introduction(self.console)
        async with contextlib.AsyncExitStack() as stack:
            standins = [
                await stack.enter_async_context(
                    serving(
                        StandInSettings(zone=zone, model=_UPSTREAM_MODEL, seconds_per_image=SECONDS_PER_IMAGE)
                    )
                )
                for zone in ZONES
            ]
            self.tell(f"three stand-in image services are up: {', '.join(ZONES)}")
            deployments = _write_deployments(folder, standins)
            admin_key = secrets.token_urlsafe(32)
            policies = stack.enter_context(as_file(files("gateway.demo") / "files" / "policies"))
            with self.console.status("starting the gateway, Valkey and SQLite"):
                gateway = await stack.enter_async_context(
                    gateway_process(
                        port=free_port(self.port),
                        deployments=deployments,
                        policies=policies,
                        data_dir=folder,
                        admin_key=admin_key,
                    )
                )
            self.tell(f"the gateway is ready at {gateway.url}")
            admin = guest(gateway.url, admin_key)
            stack.push_async_callback(admin.close)
            designer = guest(gateway.url, await issue_key(admin, team="design", user="ada", role="member"))
            stack.push_async_callback(designer.close)
            delivered = await self._generate(designer)
            refusal = await self._refuse(admin, gateway.url, standins, stack)
            report.table(self.console, delivered, refusal)
            await check_books(admin, delivered, self.facts)
            await check_pages(admin, self.facts)
            report.facts(self.console, self.facts)
            reader = await issue_key(admin, team=None, user="reader", role="org_admin")
            report.addresses(self.console, gateway, reader=reader, designer=designer.key)
            if not self.leave:
                self.console.print("\nEverything keeps running. Ctrl-C stops it.")
                await asyncio.Event().wait()
        self.tell("everything is stopped")
        return 1 if self.facts.failed else 0

    async def _generate(self, designer: Guest) -> list[Delivered]:
        delivered = []
        for ask in ASKS:
            with self.console.status(f"{ask.n} x {ask.size}: {ask.prompt}"):
                one = await ask_for(designer, ask, self.pictures, self.facts)
            delivered.append(one)
            zone = one.headers.get("ecogate-zone")
            self.tell(f"{ask.n} image(s) of {ask.prompt!r} from {zone}: {ask.why}")
        return delivered

    async def _refuse(
        self, admin: Guest, url: str, standins: list[Running], stack: contextlib.AsyncExitStack
    ) -> dict[str, Any]:
        before = _generations(standins)
        poor = guest(url, await issue_key(admin, team="postcards", user="bo", role="member"))
        stack.push_async_callback(poor.close)
        refusal = await ask_too_much(poor, self.facts)
        self.facts.expect("the refused request reached no image service", before == _generations(standins))
        self.tell(f"refused as it should be: {refusal.get('message')}")
        return refusal


def run_demo(*, leave: bool = False, port: int | None = PORT, pictures: Path = PICTURES) -> int:
    """Runs the demo; the exit code is 0 when every check held.

    `leave` ends it after the checks, else it runs until Ctrl-C. `port` is the gateway's; a free one is taken
    when it is busy. `pictures` is where the images are written.
    """
    console = Console()
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ecogate-demo-") as folder:
        try:
            return asyncio.run(_stoppable(_Demo(console, pictures, port, leave), Path(folder)))
        except GatewayDidNotStart as failure:
            report.failure(console, failure, "")
        except (openai.APIError, httpx.HTTPError, TimeoutError) as failure:
            report.failure(console, failure, log_tail(Path(folder)))
    return 1


async def _stoppable(demo: _Demo, folder: Path) -> int:
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
        return 1 if demo.facts.failed or demo.leave else 0


def _write_deployments(folder: Path, standins: list[Running]) -> Path:
    text = (files("gateway.demo") / "files" / "deployments.yaml").read_text()
    for standin in standins:
        text = text.replace(f"PORT_{standin.standin.settings.zone}", str(standin.port))
    written = folder / "deployments.yaml"
    written.write_text(text)
    return written


def _generations(standins: list[Running]) -> int:
    return sum(len(running.standin.generations) for running in standins)
