"""Files of the grid: `zone,time,gco2_per_kwh[,water_l_per_kwh]`, one row per zone and time.

Strict: a cell that cannot be read is an error with its line and column, never skipped. Times are RFC 3339;
one without an offset is UTC. A grid at 0 g/kWh happens. Knows files, not what is done with them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from gateway.errors import ConfigError, Problem
from gateway.routing.readings import MAX_G_PER_KWH, hour_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

MAX_WATER_L_PER_KWH = 1000.0

T = TypeVar("T")


@dataclass(slots=True)
class Trace:
    """Hourly carbon (g/kWh) and, where the file has it, water (L/kWh) by zone and hour since 1970."""

    carbon: dict[str, dict[int, float]] = field(default_factory=dict)
    water: dict[str, dict[int, float]] = field(default_factory=dict)


def moment(text: str) -> float:
    """Seconds of UTC since 1970. Raises ValueError."""
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("must be a time in RFC 3339, such as 2026-01-31T09:00:00Z") from None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def number(text: str) -> float:
    """A number of a cell. Raises ValueError."""
    try:
        return float(text)
    except ValueError:
        raise ValueError("must be a number") from None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a CSV file: its cells by column, and where it stands (`text` begins at `line`)."""

    file: str
    line: int
    text: str
    columns: tuple[str, ...]
    cells: dict[str, str]

    def read(self, column: str, reading: Callable[[str], T]) -> T:
        """What a cell says; one that a row is too short for is empty. Raises BadCell, with its place."""
        try:
            return reading(self.cells.get(column, ""))
        except ValueError as error:
            raise BadCell(self._problem(column, str(error))) from None

    def _problem(self, column: str, message: str) -> Problem:
        starts = _starts(self.text)
        number = self.columns.index(column) if column in self.columns else len(starts)
        at = starts[number] if number < len(starts) else len(self.text.rstrip("\r\n"))
        line_start = self.text.rfind("\n", 0, at) + 1
        return Problem(self.file, self.line + self.text.count("\n", 0, at), at - line_start + 1, message)


class BadCell(ValueError):
    """A cell that cannot be read, as a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read_signals(path: Path) -> Trace:
    """`zone,time,gco2_per_kwh[,water_l_per_kwh]`; an hour's rows are averaged. Raises ConfigError."""
    sums: dict[str, dict[int, list[float]]] = {}
    waters: dict[str, dict[int, list[float]]] = {}
    problems: list[Problem] = []
    for row in csv_rows(path, ("zone", "time", "gco2_per_kwh")):
        try:
            zone, hour = row.read("zone", _zone), hour_of(row.read("time", moment))
            carbon, litres = row.read("gco2_per_kwh", _g_per_kwh), row.read("water_l_per_kwh", _l_per_kwh)
        except BadCell as bad:
            problems.append(bad.problem)
            continue
        sums.setdefault(zone, {}).setdefault(hour, []).append(carbon)
        if litres is not None:
            waters.setdefault(zone, {}).setdefault(hour, []).append(litres)
    refuse(problems)
    if not sums:
        raise ConfigError([Problem(str(path), 1, 1, "there are no signals")])
    return Trace(_means(sums), _means(waters))


def csv_rows(path: Path, needed: tuple[str, ...]) -> Iterator[Row]:
    """The rows of a CSV file. Raises ConfigError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines: list[str] = []
            reader = csv.reader(_recorded(stream, lines))
            columns = tuple(name.strip() for name in next(reader, []))
            missing = [name for name in needed if name not in columns]
            twice = [name for name in needed if columns.count(name) > 1]
            if missing:
                message = f"column {', '.join(missing)} is missing; there are {', '.join(columns) or 'none'}"
                raise ConfigError([Problem(str(path), 1, 1, message)])
            if twice:
                raise ConfigError([Problem(str(path), 1, 1, f"column {', '.join(twice)} is there twice")])
            lines.clear()
            for cells in reader:
                row = Row(
                    str(path),
                    reader.line_num - len(lines) + 1,
                    "".join(lines),
                    columns,
                    dict(zip(columns, cells, strict=False)),
                )
                lines.clear()
                if cells:
                    yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Problem(str(path), 1, 1, f"cannot be read: {error}")]) from None


def _recorded(stream: Iterable[str], lines: list[str]) -> Iterator[str]:
    for line in stream:
        lines.append(line)
        yield line


def _starts(text: str) -> list[int]:
    """Where each cell of a row begins; a comma between quotes separates nothing."""
    starts, quoted = [0], False
    for at, letter in enumerate(text):
        if letter == '"' and text[starts[-1]] == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            starts.append(at + 1)
    return starts


def _zone(text: str) -> str:
    if not text.strip():
        raise ValueError("zone is empty")
    return text.strip().upper()


def _g_per_kwh(text: str) -> float:
    value = number(text)
    if not 0 <= value < MAX_G_PER_KWH:
        raise ValueError(f"{value:g} g/kWh is no grid's intensity")
    return value


def _l_per_kwh(text: str) -> float | None:
    if not text.strip():
        return None
    value = number(text)
    if not 0 <= value < MAX_WATER_L_PER_KWH:
        raise ValueError(f"{value:g} L/kWh cannot be")
    return value


def _means(sums: dict[str, dict[int, list[float]]]) -> dict[str, dict[int, float]]:
    return {
        zone: {hour: sum(values) / len(values) for hour, values in hours.items()}
        for zone, hours in sums.items()
    }


def refuse(problems: list[Problem]) -> None:
    """Raises ConfigError with the first problems, if there are any."""
    if problems:
        raise ConfigError(problems[:50])
