"""Files that users write: strict YAML checked against a model, with every mistake at its line and column.

One rule above all: nothing in a file is ever ignored. A key that no version knows, a key that this version
does not support yet and a secret written in clear are mistakes. `${NAME}` stands only where a secret is
expected, and messages never show the value of a secret. Knows no policy and no deployment: their models live
with them.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, Union, get_args, get_origin
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    JsonValue,
    SecretStr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from gateway.errors import ConfigError, Problem
from gateway.yaml_tree import MAX_BYTES, Node, read_tree, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

MAX_COMPARED_CHARACTERS = 80
MISPLACED_REFERENCE = "${NAME} references are only for secrets"

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_VISIBLE_ASCII = re.compile(r"[!-~]+")
_URL = re.compile(r"[!-~]{1,2000}")

Location = tuple[int | str, ...]
M = TypeVar("M", bound="Section")
Word = TypeVar("Word", str, int)
ONCE: dict[str, JsonValue] = {"uniqueItems": True}
"""How editors are told of `distinct`."""
SOMETHING: dict[str, JsonValue] = {"minProperties": 1}
"""How editors are told that a mapping must not be empty."""


class Section(BaseModel):
    """A mapping in a file. `later` names the keys of the language that this version refuses."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)
    later: ClassVar[frozenset[str]] = frozenset()


def wrong(message: str) -> PydanticCustomError:
    """What a validator raises: the message follows the path of the value."""
    return PydanticCustomError("wrong", "{message}", {"message": message})


def written(pattern: re.Pattern[str], **more: Any) -> WithJsonSchema:
    """How editors are told what text a validator takes."""
    return WithJsonSchema({"type": "string", "pattern": f"^(?:{pattern.pattern})$", **more})


def distinct(words: list[Word]) -> list[Word]:
    """A list that names everything once."""
    twice = next((word for place, word in enumerate(words) if word in words[:place]), None)
    if twice is not None:
        raise wrong(f"names {shown(twice)} twice")
    return words


def absolute_url(text: str, *, example: str, instead: str = "") -> SplitResult:
    """The parts of an absolute http(s) URL. Messages never show it: credentials and paths are often secret.

    `instead` says where credentials belong.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise wrong(f"is not a URL, as {example} is: its host or its port cannot be read") from None
    if parts.scheme not in ("http", "https") or not host or not _URL.fullmatch(text):
        raise wrong(f"must be an absolute URL such as {example}")
    if "@" in parts.netloc:
        raise wrong("must not hold credentials" + (f": {instead}" if instead else ""))
    return parts


def closest(word: str, known: Iterator[str] | list[str]) -> str:
    """`: did you mean 'x'?` where a known word is near, else nothing."""
    if len(word) > MAX_COMPARED_CHARACTERS:
        return ""
    by_fold = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return f": did you mean '{by_fold[near[0]]}'?" if near else ""


def unsupported(*names: str) -> BeforeValidator:
    """Refuses values that belong to the language but not to this version."""

    def refuse(value: object) -> object:
        word = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else value
        if isinstance(word, str) and word in names:
            raise wrong(f"'{word}' is not supported by this version")
        return value

    return BeforeValidator(refuse)


def _dereferenced(value: object, info: ValidationInfo) -> SecretStr:
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong(
            "must be a reference to an environment variable, such as ${NAME}: never write a secret here"
        )
    environ: Mapping[str, str] | None = (info.context or {}).get("environ")
    if environ is None:
        return SecretStr("")
    name = match.group(1)
    secret = environ.get(name)
    if not secret:
        raise wrong(f"the environment variable {name} is {'not set' if secret is None else 'empty'}")
    if not _VISIBLE_ASCII.fullmatch(secret):
        raise wrong(f"the environment variable {name} holds spaces, line breaks or characters beyond ASCII")
    return SecretStr(secret)


Secret = Annotated[
    SecretStr,
    BeforeValidator(_dereferenced),
    written(REFERENCE, description="The environment variable of a secret"),
]


@dataclass(frozen=True, slots=True)
class Document(Generic[M]):
    """A file that passed its model; `digest` is the SHA-256 of its bytes."""

    file: str
    digest: str
    content: M
    tree: Node

    def problem(self, location: Location, message: str) -> Problem:
        """A mistake that only shows when files or other facts are compared, at its place in this file."""
        spot = _find(self.tree, location)
        return Problem(self.file, spot.line, spot.column, _about(spot.path, message))

    def line_of(self, location: Location) -> int:
        return _find(self.tree, location).line


def load_document(path: Path, model: type[M], *, environ: Mapping[str, str] | None) -> M:
    """The checked content of a YAML file. See `read_document`."""
    return read_document(path, model, environ=environ).content


def read_document(path: Path, model: type[M], *, environ: Mapping[str, str] | None) -> Document[M]:
    """The checked content of a YAML file with the places of its values.

    `environ` resolves `${NAME}`; None checks the form of references only and leaves their secrets empty.
    Raises ConfigError with every mistake, in the order of the file.
    """
    file = str(path)
    raw = _bytes(path)
    tree, problems = read_tree(file, raw)
    if tree is None:
        raise ConfigError(in_order(problems))
    problems += [Problem(file, *place) for place in _misplaced_references(tree, model)]
    taken = {(problem.line, problem.column) for problem in problems}
    content = None
    try:
        content = model.model_validate(tree.plain(), context={"environ": environ})
    except ValidationError as error:
        found = (_explained(file, tree, model, details) for details in error.errors(include_url=False))
        # A value that could not be read is reported once, not again for lacking what its model wants.
        problems += [problem for problem in found if (problem.line, problem.column) not in taken]
    if problems or content is None:
        raise ConfigError(in_order(problems))
    return Document(file, hashlib.sha256(raw).hexdigest(), content, tree)


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ConfigError(
                [Problem(str(path), 1, 1, "is not a file" if path.exists() else "does not exist")]
            )
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem(str(path), 1, 1, f"cannot be read: {error.strerror}")]) from None


def in_order(problems: list[Problem]) -> list[Problem]:
    """Problems by file and place."""
    return sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column, problem.message))


@dataclass(frozen=True, slots=True)
class _Spot:
    line: int
    column: int
    path: str
    key_line: int
    key_column: int


def _find(tree: Node, location: Location) -> _Spot:
    """The deepest place in the tree that a location names."""
    node, path = tree, ""
    key_line, key_column = tree.line, tree.column
    for part in location:
        if isinstance(node.content, dict) and part in node.content:
            entry = node.content[str(part)]
            node, key_line, key_column = entry.value, entry.line, entry.column
            path += f".{part}" if path else str(part)
        elif isinstance(node.content, list) and isinstance(part, int) and part < len(node.content):
            node = node.content[part]
            key_line, key_column = node.line, node.column
            path += f"[{part}]"
    return _Spot(node.line, node.column, path, key_line, key_column)


def _about(path: str, message: str) -> str:
    return f"{path}: {message}" if path else message


def _type_at(model: type[BaseModel], location: Location) -> Any:
    """The declared type at a location, without `Annotated` and `| None`; None where the model has none."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            declared = current.model_fields.get(str(part))
            current = declared.annotation if declared else None
        elif get_origin(current) is dict:
            current = get_args(current)[1]
        elif get_origin(current) in (list, tuple):
            current = get_args(current)[0]
        else:
            return None
        current = _bare(current)
    return current


def _bare(declared: Any) -> Any:
    if get_origin(declared) is Annotated:
        return _bare(get_args(declared)[0])
    if get_origin(declared) in (Union, types.UnionType):
        return _bare(next(option for option in get_args(declared) if option is not type(None)))
    return declared


def _misplaced_references(tree: Node, model: type[BaseModel]) -> Iterator[tuple[int, int, str]]:
    def walk(node: Node, location: Location) -> Iterator[tuple[int, int, str]]:
        if isinstance(node.content, dict):
            for key, entry in node.content.items():
                yield from walk(entry.value, (*location, key))
        elif isinstance(node.content, list):
            for index, item in enumerate(node.content):
                yield from walk(item, (*location, index))
        elif isinstance(node.content, str) and REFERENCE.search(node.content):
            declared = _type_at(model, location)
            if declared is None or declared is SecretStr:
                return  # without a type it stands under a key that is refused anyway
            yield node.line, node.column, _about(_find(tree, location).path, MISPLACED_REFERENCE)

    return walk(tree, ())


def _explained(file: str, tree: Node, model: type[BaseModel], details: ErrorDetails) -> Problem:
    """A pydantic error as a sentence at a place."""
    location = tuple(part for part in details["loc"] if part != "[key]")
    spot = _find(tree, location)
    if details["type"] == "extra_forbidden":
        above = _find(tree, location[:-1]).path
        message = _unknown_key(_type_at(model, location[:-1]), str(location[-1]))
        return Problem(file, spot.key_line, spot.key_column, _about(above, message))
    if details["loc"][-1:] == ("[key]",):
        above = _find(tree, location[:-1]).path
        return Problem(file, spot.key_line, spot.key_column, _about(above, _sentence(details)))
    if details["type"] == "missing":
        return Problem(file, spot.line, spot.column, _about(spot.path, f"'{location[-1]}' is missing"))
    return Problem(file, spot.line, spot.column, _about(spot.path, _sentence(details)))


def _unknown_key(model: Any, key: str) -> str:
    known: list[str] = []
    if isinstance(model, type) and issubclass(model, Section):
        if key in model.later:
            return f"'{key}' is not supported by this version"
        known = list(model.model_fields)
    return f"{shown(key)} is not a known key{closest(key, known)}"


_EXPECTED = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "literal_error": "must be {choices}",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_short": "must not be empty: give it a value or leave the key out",
    "too_short": "must have at least one entry",
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must have at most {max_length} entries",
}


def _sentence(details: ErrorDetails) -> str:
    kind, limits, value = details["type"], dict(details.get("ctx", {})), details["input"]
    if kind not in _EXPECTED:
        return details["msg"]
    choices = re.findall(r"'([^']*)'", str(limits.get("expected", "")))
    limits["choices"] = f"one of {', '.join(choices)}" if len(choices) > 1 else f"'{''.join(choices)}'"
    sentence = _EXPECTED[kind].format_map(limits)
    if kind in ("string_too_short", "too_short"):
        return sentence
    hint = ": write it in quotes" if kind == "string_type" and isinstance(value, int | float) else ""
    return f"{sentence} (got {shown(value)}){hint}"
