"""X1 and X3: the searches for a counterexample, in processes of their own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.soak.rows import Row

if TYPE_CHECKING:
    from pathlib import Path


async def x1(_: Path, seeds: int) -> list[Row]:
    """Seeds in as many processes as there are processors."""
    share = -(-seeds // (os.cpu_count() or 1))
    running = [
        await _started("tests.faults.simulated", "--from", first, "--to", min(seeds, first + share))
        for first in range(0, seeds, share)
    ]
    told = [(await each.communicate())[0].decode() for each in running]
    for text, each in zip(told, running, strict=True):
        if each.returncode:
            print(text, file=sys.stderr)  # noqa: T201
    fine = all(each.returncode == 0 for each in running)
    return [Row("X1 seeds without a break of an invariant", str(seeds) if fine else "a seed failed", fine)]


async def x3(_: Path, minutes: float) -> list[Row]:
    """The fuzz of the JSON and the form reader for `minutes` each."""
    rows: list[Row] = []
    for reader in ("json", "form"):
        process = await _started("tests.images.fuzz", reader, minutes * 60)
        text = (await process.communicate())[0].decode().strip()
        told = text.splitlines()[-1] if text else "-"
        rows.append(Row(f"X3 {reader} reader", told, process.returncode == 0))
    return rows


async def _started(module: str, *words: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *map(str, words)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
