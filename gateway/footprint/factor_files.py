"""Reads factor files: YAML documents and the bundled CSV tables, each entry with its file and line.

Every mistake of every file is collected before anything is raised. Refuses to know what an entry means.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from gateway.errors import Problem
from gateway.footprint.entries import CountedFlops, Entry, FactorDocument, GridZone, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.resources.abc import Traversable
    from pathlib import Path

LONGEST_EDGES = (256, 512, 768, 1024, 1280, 1536, 2048)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an entry stands; lines count from 1."""

    file: str
    line: int
    column: int = 1

    def problem(self, message: str) -> Problem:
        return Problem(self.file, self.line, self.column, message)


@dataclass(slots=True)
class FactorRows:
    """Entries by section, in file order, with their origins."""

    rows: dict[str, list[tuple[Entry, Origin]]] = field(default_factory=dict)
    released: str | None = None
    problems: list[Problem] = field(default_factory=list)

    def add(self, section: str, entry: Entry, origin: Origin) -> None:
        self.rows.setdefault(section, []).append((entry, origin))


def read_yaml(file: Path | Traversable, text: str, into: FactorRows) -> None:
    """Add the entries of one YAML factor file, or its problems."""
    name = str(file)
    try:
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
        document = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        into.problems.append(Problem(name, line, column, error.problem or "not YAML"))
        return
    try:
        parsed = FactorDocument.model_validate(document or {})
    except ValidationError as error:
        into.problems.extend(
            _origin(name, root, item["loc"]).problem(_message(item))
            for item in error.errors(include_url=False)
        )
        return
    if parsed.released:
        into.released = parsed.released
    for section in FactorDocument.model_fields:
        if section == "released":
            continue
        for index, entry in enumerate(getattr(parsed, section)):
            into.add(section, entry, _origin(name, root, (section, index)))


def read_csv(file: Traversable, text: str, section: str, into: FactorRows) -> None:
    """Add the rows of one bundled table; an empty cell is an absent value."""
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for row in reader:
        cells = {key: value for key, value in row.items() if value}
        origin = Origin(str(file), reader.line_num)
        try:
            into.add(section, TABLES[section](cells), origin)
        except ValidationError as error:
            into.problems.extend(origin.problem(_message(item)) for item in error.errors(include_url=False))


def _counted(cells: dict[str, Any]) -> CountedFlops:
    points = tuple((float(edge * edge), float(cells.pop(f"tflop_{edge}"))) for edge in LONGEST_EDGES)
    return CountedFlops.model_validate({**cells, "points": points})


TABLES: dict[str, Callable[[dict[str, Any]], Entry]] = {
    "flops": _counted,
    "grid": GridZone.model_validate,
    "regions": Region.model_validate,
}


def _message(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    return f"{where}: {item['msg']}" if where else str(item["msg"])


def _origin(file: str, node: yaml.Node | None, path: Sequence[int | str]) -> Origin:
    """The place of the deepest node on `path` that exists."""
    for part in path:
        if isinstance(node, yaml.MappingNode):
            child = next((value for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            child = node.value[part]
        else:
            child = None
        if child is None:
            break
        node = child
    if node is None:
        return Origin(file, 1)
    return Origin(file, node.start_mark.line + 1, node.start_mark.column + 1)
