"""JSON read so that it has one meaning, whoever reads it next.

Refuses everything on which readers in the field disagree: duplicate names, NaN and infinities, numbers that
overflow, a byte order mark, other encodings, lone surrogates, NUL, a second document, deep nesting. Knows
nothing about images; the caller names the fields.
"""

from __future__ import annotations

import json
import math
from typing import Any

from gateway.errors import InvalidRequest

MAX_DEPTH = 32
MAX_MEMBERS = 1_000
MAX_DIGITS = 19


def read_object(body: bytes, *, max_members: int = MAX_MEMBERS) -> dict[str, Any]:
    """The one JSON object in `body`, in the order it was written.

    Raises `InvalidRequest` with a sentence about the first thing that is wrong. `max_members` bounds the
    members of all objects together.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused("The body is not valid UTF-8.") from None
    if text.startswith("\ufeff"):
        raise _refused("The body starts with a byte order mark.")
    if not text.strip():
        raise _refused("The body is empty; a JSON object is expected.")
    members = 0

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal members
        members += len(pairs)
        if members > max_members:
            raise _refused(f"The body has more than {max_members:,} members.")
        result = dict(pairs)
        if len(result) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise _refused(
                f"The name {shown_name(twice)} appears twice in one object.", param=plain_name(twice)
            )
        return result

    try:
        document = json.loads(
            text,
            object_pairs_hook=unique,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise _refused(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise _refused(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    if not isinstance(document, dict):
        raise _refused("The body must be a JSON object.")
    _check(document, 1)
    return document


def _check(value: object, depth: int) -> None:
    """Walks the whole document, names included."""
    if isinstance(value, str):
        if "\x00" in value:
            raise _refused("The body contains a NUL character.")
        if any("\ud800" <= character <= "\udfff" for character in value) if not value.isascii() else False:
            raise _refused("The body contains a lone surrogate.")
        return
    if isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise _refused(f"The body is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(value, dict):
            for name in value:
                _check(name, depth)
        for item in value.values() if isinstance(value, dict) else value:
            _check(item, depth + 1)


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise _refused(f"A number in the body has more than {MAX_DIGITS} digits.")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _refused("A number in the body is too large.")
    return value


def _constant(name: str) -> float:
    raise _refused(f"{name} is not a JSON number.")


def _refused(message: str, *, param: str | None = None) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_json", param=param)


def plain_name(name: str) -> str | None:
    """A client's own word, if it is plain enough to stand in an answer."""
    return name if name.isascii() and name.isidentifier() and len(name) <= 64 else None  # noqa: PLR2004


def shown_name(name: str) -> str:
    """The same in a sentence."""
    return f"'{name}'" if plain_name(name) else "(not a plain name)"
