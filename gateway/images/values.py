"""Single values of a request's fields: of the right type and within bounds, or refused in words.

`None` and a missing field are the same: the client left it open.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.errors import InvalidRequest

WHOLE = re.compile(r"[0-9]{1,9}")
NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
STEP_NAMES = ("steps", "step", "num_inference_steps", "sample_steps")
FLAGS = {"true": True, "false": False}


def text(fields: dict[str, Any], name: str, *, required: bool = False, limit: int) -> Any:
    """A string, or `None` when the field is open; never an empty one where a value is required."""
    value = fields.get(name)
    if value is None:
        if required:
            raise refused(f"'{name}' is required.", name, "missing_required_parameter")
        return None
    if not isinstance(value, str):
        raise refused(f"'{name}' must be a string.", name, "invalid_type")
    if len(value) > limit:
        raise refused(f"'{name}' is longer than {limit:,} characters.", name, "string_above_max_length")
    if required and not value.strip():
        raise refused(f"'{name}' is empty.", name)
    return value


def whole(fields: dict[str, Any], name: str, low: int, high: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise refused(f"'{name}' must be an integer.", name, "invalid_type")
    if not low <= value <= high:
        raise refused(f"'{name}' must be between {low} and {high}.", name)
    return value


def real(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(f"'{name}' must be a number.", name, "invalid_type")
    return float(value)


def flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise refused(f"'{name}' must be true or false.", name, "invalid_type")
    return bool(value)


def left_open(value: str | None) -> str | None:
    """`auto` leaves the choice to the server, like no value at all."""
    return None if value == "auto" else value


def refused(message: str, param: str | None, code: str = "invalid_value") -> InvalidRequest:
    return InvalidRequest(message, code=code, param=param)


def typed(
    fields: dict[str, str], *, whole_names: frozenset[str], real_names: frozenset[str]
) -> dict[str, Any]:
    """A form's text fields as a JSON body would carry them: numbers and flags where the name says so.

    Raises `InvalidRequest` for a number or a flag that is none.
    """
    values: dict[str, Any] = dict(fields)
    for name, text_value in fields.items():
        if name in whole_names:
            if not WHOLE.fullmatch(text_value):
                raise refused(f"'{name}' must be an integer.", name, "invalid_type")
            values[name] = int(text_value)
        elif name in real_names:
            if not NUMBER.fullmatch(text_value):
                raise refused(f"'{name}' must be a number.", name, "invalid_type")
            values[name] = float(text_value)
        elif name == "stream":
            if text_value not in FLAGS:
                raise refused("'stream' must be true or false.", name, "invalid_type")
            values[name] = FLAGS[text_value]
    return values
