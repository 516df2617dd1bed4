"""Request options that clients give in headers, ours and those that stock clients send anyway.

A header that means nothing here is left alone; one of ours with a value that means nothing is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INCLUDE = "ecogate-include"
DEADLINE = "ecogate-deadline"
ALLOW_DOWNGRADE = "ecogate-allow-downgrade"
IDEMPOTENCY_KEY = "idempotency-key"
IDEMPOTENCY_KEY_FORM = re.compile(r"[\x20-\x7e]{1,255}")
CLIENT_TIMEOUTS = ("x-stainless-read-timeout", "x-stainless-timeout")
"""Seconds after which the stock Python and Node clients give up and, left alone, send the request again."""
MARGIN_S = 1.0
LONGEST_S = 86_400.0


def deadline(headers: Mapping[str, str]) -> float | None:
    """Seconds from now until the answer must be on its way; `None` when the client does not say.

    Raises `InvalidRequest` for a deadline of ours that is no number of seconds.
    """
    asked = _seconds(headers.get(DEADLINE))
    if DEADLINE in headers and asked is None:
        raise InvalidRequest("'ecogate-deadline' must be a number of seconds.", code="invalid_value")
    if asked is not None:
        return asked
    known = [seconds for name in CLIENT_TIMEOUTS if (seconds := _seconds(headers.get(name))) is not None]
    if not known:
        return None
    # Early enough that the client hears of it instead of asking again: it would pay twice.
    return max(min(known) / 2, min(known) - MARGIN_S)


def allows_downgrade(headers: Mapping[str, str]) -> bool | None:
    """Whether a lighter form of the request will do; `None` leaves it to the policies.

    Raises `InvalidRequest` for another word.
    """
    asked = headers.get(ALLOW_DOWNGRADE)
    if asked is None:
        return None
    if asked.strip().lower() not in {"true", "false"}:
        raise InvalidRequest("'ecogate-allow-downgrade' must be true or false.", code="invalid_value")
    return asked.strip().lower() == "true"


def idempotency_key(values: Sequence[str]) -> str | None:
    """The key that makes repetitions of a request one, out of its header's values; `None` without one.

    Raises `InvalidRequest` for a key that is empty, too long, not plain ASCII, or one of several.
    """
    if not values:
        return None
    if len(values) > 1 or not IDEMPOTENCY_KEY_FORM.fullmatch(values[0]) or not values[0].strip():
        raise InvalidRequest(
            "'Idempotency-Key' must be given once and have 1 to 255 printable ASCII characters.",
            code="invalid_idempotency_key",
        )
    return values[0]


def retry_count(headers: Mapping[str, str]) -> int | None:
    """How often the client says it sent this before; anything but one or two digits says nothing."""
    header = headers.get("x-stainless-retry-count")
    return int(header) if header is not None and header.isdecimal() and len(header) < 3 else None  # noqa: PLR2004


def wants_footprint(headers: Mapping[str, str]) -> bool:
    """Whether answers shall carry the `ecogate` key. Raises `InvalidRequest` for another wish."""
    asked = headers.get(INCLUDE)
    if asked is None:
        return False
    if asked.strip().lower() != "footprint":
        raise InvalidRequest("'ecogate-include' can only be 'footprint'.", code="invalid_value")
    return True


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text) if text is not None and len(text) <= 16 else None  # noqa: PLR2004
    except ValueError:
        return None
    return seconds if seconds is not None and 0 < seconds <= LONGEST_S else None
