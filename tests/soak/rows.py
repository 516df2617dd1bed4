"""What a part measured: its name, its value, and whether that is good enough."""

from __future__ import annotations

from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Row(NamedTuple):
    """One line of the table."""

    name: str
    value: str
    good: bool


def at_most(name: str, value: float, most: float, unit: str) -> Row:
    """A figure that has a limit."""
    return Row(name, f"{value:.1f} {unit} (at most {most:g})", value <= most)


def holds(name: str, *, true: bool) -> Row:
    """A statement that must be true."""
    return Row(name, "yes" if true else "no", true)


def percentiles_ms(seconds: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th of 100, in milliseconds."""
    cuts = quantiles((1000 * second for second in seconds), n=100, method="inclusive")
    return cuts[49], cuts[98]


def memory_mb(pid: int | str = "self", *, most: bool = False) -> float:
    """The resident size of a process now, or the largest so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    name = "VmHWM" if most else "VmRSS"
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]
