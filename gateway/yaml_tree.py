"""A strict reading of YAML into a small tree that remembers the place of everything.

The YAML that people write by hand, with the scalars of JSON: `NO`, `yes`, `12:30` and `010` are strings.
Refused: duplicate keys, anchors, aliases, merge keys, tags, directives, a second document, and more than
`MAX_BYTES`, `MAX_NODES` or `MAX_DEPTH`. Nothing is ever expanded, so a small file cannot become a large
value. Knows no schema and no meaning.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from gateway.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 1_000_000
MAX_NODES = 10_000
MAX_DEPTH = 32
MAX_NUMBER_CHARACTERS = 40

_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS = {"null": None, "": None, "true": True, "false": False}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's place in a mapping, and what it is set to."""

    line: int
    column: int
    value: Node


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its place; lines and columns count from 1."""

    line: int
    column: int
    content: Scalar | list[Node] | dict[str, Entry]

    def plain(self) -> Any:
        """The value without places: what `json.loads` would give."""
        if isinstance(self.content, list):
            return [node.plain() for node in self.content]
        if isinstance(self.content, dict):
            return {key: entry.value.plain() for key, entry in self.content.items()}
        return self.content


def shown(value: object) -> str:
    """A value as a message quotes it: short, on one line, without control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    longest = 60
    text = repr(value[: longest + 1] if isinstance(value, str) else value)
    return text if len(text) <= longest else f"{text[:longest]}..."


def read_tree(file: str, raw: bytes) -> tuple[Node | None, list[Problem]]:
    """The tree of a YAML text and every mistake in its form; no tree where nothing could be made of it."""
    builder = _Builder(file)
    try:
        text = _decoded(file, raw)
        try:
            return builder.document(text), builder.problems
        except yaml.YAMLError as error:
            raise _Unreadable(_syntax_problem(file, text, error)) from None
    except _Unreadable as stop:
        return None, [*builder.problems, stop.problem]


class _Unreadable(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


def _decoded(file: str, raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise _Unreadable(Problem(file, 1, 1, f"the file is larger than {MAX_BYTES} bytes"))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(raw[: error.start].decode("utf-8-sig"))
        raise _Unreadable(Problem(file, line, column, "the file is not UTF-8")) from None
    if unprintable := _UNPRINTABLE.search(text):
        line, column = _place(text[: unprintable.start()])
        message = f"the control character {unprintable.group()!r} is not allowed"
        raise _Unreadable(Problem(file, line, column, message))
    return text


def _place(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _syntax_problem(file: str, text: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    opening = getattr(error, "context_mark", None)
    context = getattr(error, "context", None)
    problem = getattr(error, "problem", None) or "the text cannot be parsed"
    message = f"not valid YAML: {problem}" + (f" {context}" if context else "")
    if mark is None:
        return Problem(file, 1, 1, message)
    if text.startswith("\t", mark.index):
        message += "; lines are indented by spaces, not by tabs"
    if text.startswith("${", mark.index - 1):
        message += '; within braces or brackets a reference stands in quotes, as in "${NAME}"'
    # An unclosed quote or bracket is noticed at the end of the text; people look for where it was opened.
    if opening is not None and mark.index >= len(text.rstrip()):
        mark = opening
    return Problem(file, mark.line + 1, mark.column + 1, message)


def _start(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


class _Builder:
    """Builds the tree from the parser's events, so that limits hold before anything is built."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.nodes = 0

    def document(self, text: str) -> Node:
        events: Iterator[yaml.Event] = yaml.parse(text, Loader=_PARSER)
        next(events)  # the start of the stream
        start = next(events)
        if isinstance(start, yaml.StreamEndEvent):
            self.stop(start, "the file is empty")
        if start.version or start.tags:  # type: ignore[attr-defined]  # the stubs know no DocumentStartEvent fields
            self.report(start, "directives (%YAML, %TAG) are not allowed")
        tree = self.node(next(events), events, depth=1)
        next(events)  # the end of the document
        after = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            self.stop(after, "a file holds one document only")
        return tree

    def node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.stop(event, f"the file holds more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            self.stop(event, f"values are nested more than {MAX_DEPTH} deep")
        line, column = _start(event)
        if isinstance(event, yaml.AliasEvent):
            self.report(event, f"aliases are not allowed (*{event.anchor}): write the value out")
            return Node(line, column, None)
        anchor, tag = event.anchor, event.tag  # type: ignore[attr-defined]
        if anchor is not None:
            self.report(event, f"anchors are not allowed (&{anchor}): write the value out where it is used")
        if tag is not None:
            self.report(event, f"tags are not allowed ({tag}): text stands in quotes")
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(line, column, self.items(events, depth))
        if isinstance(event, yaml.MappingStartEvent):
            return Node(line, column, self.entries(events, depth))
        return Node(line, column, self.scalar(event))

    def items(self, events: Iterator[yaml.Event], depth: int) -> list[Node]:
        items = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self.node(event, events, depth + 1))
        return items

    def entries(self, events: Iterator[yaml.Event], depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = event.value if isinstance(event, yaml.ScalarEvent) else None
            self.node(event, events, depth + 1)
            value = self.node(next(events), events, depth + 1)
            if not key:
                self.report(event, "a key must be text")
            elif key == "<<":
                self.report(event, "merge keys are not allowed (<<)")
            elif key in entries:
                self.report(event, f"{shown(key)} is already set on line {entries[key].line}")
            else:
                entries[key] = Entry(*_start(event), value)
        return entries

    def scalar(self, event: yaml.Event) -> Scalar:
        assert isinstance(event, yaml.ScalarEvent)  # noqa: S101  # the last kind of event that a value can be
        text = event.value
        if event.style:  # quoted, literal or folded: text, whatever it looks like
            return text
        if text in _WORDS:
            return _WORDS[text]
        return self.number(event, text) if _FLOAT.fullmatch(text) else text

    def number(self, event: yaml.Event, text: str) -> Scalar:
        if len(text) > MAX_NUMBER_CHARACTERS:
            self.report(event, f"a number has at most {MAX_NUMBER_CHARACTERS} characters")
            return None
        if _INTEGER.fullmatch(text):
            return int(text)
        number = float(text)
        if math.isinf(number):
            self.report(event, f"{text} is too large for a number")
            return None
        return number

    def report(self, event: yaml.Event, message: str) -> None:
        line, column = _start(event)
        self.problems.append(Problem(self.file, line, column, message))

    def stop(self, event: yaml.Event, message: str) -> NoReturn:
        line, column = _start(event)
        raise _Unreadable(Problem(self.file, line, column, message))
