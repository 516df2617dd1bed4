"""Reads factor files: strict YAML documents and the bundled CSV tables, each entry with its file and line.

The bundled files and an operator's pass the same reader and the same rules. Every mistake of every file is
collected before anything is raised. Refuses to know what an entry means.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.documents import read_document
from gateway.errors import ConfigError, Problem
from gateway.footprint.entries import CountedFlops, Entry, FactorDocument, GridZone, Region

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONGEST_EDGES = (256, 512, 768, 1024, 1280, 1536, 2048)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an entry stands; lines and columns count from 1."""

    file: str
    line: int
    column: int = 1

    def problem(self, message: str) -> Problem:
        return Problem(self.file, self.line, self.column, message)


@dataclass(slots=True)
class FactorRows:
    """Entries by section, in file order, with their origins and the digests of their files."""

    rows: dict[str, list[tuple[Entry, Origin]]] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)
    released: str | None = None
    problems: list[Problem] = field(default_factory=list)

    def add(self, section: str, entry: Entry, origin: Origin) -> None:
        self.rows.setdefault(section, []).append((entry, origin))


def factor_paths(given: Path | None) -> tuple[Path, ...]:
    """The factor files that an operator names: one file, or every `*.yaml` of a folder in order of name."""
    if given is None:
        return ()
    return tuple(sorted(given.glob("*.yaml"))) if given.is_dir() else (given,)


def read_yaml(file: Path, into: FactorRows) -> None:
    """Add the entries of one YAML factor file, or its problems."""
    try:
        document = read_document(file, FactorDocument, environ=None)
    except ConfigError as error:
        into.problems.extend(error.problems)
        return
    into.digests.append(document.digest)
    if document.content.released:
        into.released = document.content.released
    for section in FactorDocument.model_fields:
        if section == "released":
            continue
        for index, entry in enumerate(getattr(document.content, section)):
            place = document.problem((section, index), "")
            into.add(section, entry, Origin(place.file, place.line, place.column))


def read_csv(file: Path, section: str, into: FactorRows) -> None:
    """Add the rows of one bundled table; an empty cell is an absent value."""
    raw = file.read_bytes()
    into.digests.append(hashlib.sha256(raw).hexdigest())
    reader = csv.DictReader(io.StringIO(raw.decode(), newline=""))
    for row in reader:
        cells = {key: value for key, value in row.items() if value}
        origin = Origin(str(file), reader.line_num)
        try:
            into.add(section, TABLES[section](cells), origin)
        except ValidationError as error:
            into.problems.extend(origin.problem(_message(item)) for item in error.errors(include_url=False))


def _counted(cells: dict[str, Any]) -> CountedFlops:
    points = tuple((float(edge * edge), float(cells.pop(f"tflop_{edge}"))) for edge in LONGEST_EDGES)
    return CountedFlops.model_validate({**cells, "points": points}, strict=False)


def _grid(cells: dict[str, Any]) -> GridZone:
    return GridZone.model_validate(cells, strict=False)


def _region(cells: dict[str, Any]) -> Region:
    return Region.model_validate(cells, strict=False)


TABLES: dict[str, Callable[[dict[str, Any]], Entry]] = {
    "flops": _counted,
    "grid": _grid,
    "regions": _region,
}


def _message(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    return f"{where}: {item['msg']}" if where else str(item["msg"])
