"""Parameters inside another parameter: a JSON text (`kwargs`), an object, or a block in the prompt.

They decide how much work is asked like those beside them, so they are read as strictly, and by a closed list:
pipelines take many more names that cost work. Refuses to know which server reads what.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.errors import InvalidRequest
from gateway.images.strict_json import read_object, shown_name
from gateway.images.values import STEP_NAMES, refused, text

CARRIERS = ("kwargs", "extra_params", "diffusers_kwargs")
INSIDE = frozenset({*STEP_NAMES, "guidance_scale", "true_cfg_scale", "negative_prompt", "seed"})
BLOCK = "sd_cpp_extra_args"
"""The tag of a block in the prompt, as one server reads it; to the others it is plain text."""
MAX_CHARACTERS = 64_000


def unfolded(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields and, beside them, those that are inside one. Raises `InvalidRequest`."""
    return agreeing(fields, inside(fields))


def inside(fields: dict[str, Any]) -> dict[str, Any]:
    """The parameters inside the one that carries some, where there is one. Raises `InvalidRequest`."""
    carriers = [name for name in CARRIERS if fields.get(name) is not None]
    if not carriers:
        return {}
    if len(carriers) > 1:
        raise refused(f"'{carriers[0]}' and '{carriers[1]}' exclude each other.", carriers[1])
    carrier = carriers[0]
    found = fields[carrier]
    if carrier == "kwargs":
        found = parsed(text(fields, carrier, limit=MAX_CHARACTERS), carrier)
    if not isinstance(found, dict):
        raise refused(f"'{carrier}' must be an object.", carrier, "invalid_type")
    refuse_others(found, INSIDE, carrier)
    return found


def agreeing(fields: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The fields with those `found` inside one. Raises `InvalidRequest` for two values of one name."""
    for name, value in found.items():
        beside = fields.get(name)
        if beside is not None and value is not None and (type(beside), beside) != (type(value), value):
            raise refused(f"'{name}' is given twice, with different values.", name)
    return fields | {name: value for name, value in found.items() if value is not None}


def may_hold_block(fields: dict[str, Any]) -> bool:
    """Whether the prompt may hold a block of parameters, in anybody's spelling of its tag."""
    return BLOCK in (fields.get("prompt") or "").lower()


def parsed(written: str, param: str) -> dict[str, Any]:
    """The JSON object in a text, read like a body. Raises `InvalidRequest` that names `param`."""
    try:
        return read_object(written.encode())
    except InvalidRequest as error:
        raise replace(error, message=f"Inside '{param}': {error.message}", param=param) from None


def refuse_others(found: dict[str, Any], names: frozenset[str], param: str) -> None:
    """Raises `InvalidRequest` for a name that is not one of these."""
    for name in found:
        if name not in names:
            raise refused(
                f"{shown_name(name)} inside '{param}' may change how much work is asked in a way that this"
                " version cannot price.",
                param,
                "unsupported_parameter",
            )
