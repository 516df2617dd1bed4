"""Runs the parts, each in a directory and an event loop of its own, and writes the table."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests import soak
from tests.soak.bursts import f16, l2, l4
from tests.soak.day import l3
from tests.soak.searches import x1, x3
from tests.soak.steady import l1
from tests.soak.times import f2, f3, f8, f10, f12, f24

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from tests.soak.rows import Row


def main() -> int:
    given = arguments()
    minutes, seeds = given.minutes, given.seeds
    parts: dict[str, Callable[[Path], Coroutine[Any, Any, list[Row]]]] = {
        **{part.__name__: part for part in (f2, f3, f8, f10, f12, f16, f24, l2, l4)},
        "l1": lambda home: l1(home, minutes),
        "l3": lambda home: l3(home, minutes),
        "x1": lambda home: x1(home, seeds),
        "x3": lambda home: x3(home, minutes),
    }
    lines = [f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {os.cpu_count()} processors.", ""]
    lines += ["| what | measured | good enough |", "|---|---|---|"]
    fine = True
    for name in given.parts or parts:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="ecogate-soak-") as folder:
            rows = asyncio.run(parts[name](Path(folder)))
        for row in rows:
            lines.append(f"| {row.name} | {row.value} | {'yes' if row.good else 'NO'} |")
            fine = fine and row.good
        given.report.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    print("\n".join(lines))  # noqa: T201
    return 0 if fine else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=soak.__doc__)
    parser.add_argument(
        "parts", nargs="*", help="f2 f3 f8 f10 f12 f16 f24 l1 l2 l3 l4 x1 x3; all without any"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long L1, L3 and each of X3 take")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many X1 tries")
    parser.add_argument("--report", type=Path, default=Path("soak-report.md"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
