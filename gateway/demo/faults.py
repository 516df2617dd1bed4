"""Faults that the stand-in image service commits on demand, so that tests meet real failures on real sockets.

A fault is written as text, `name`, `name:amount` or either with `@ZONE` behind it: `overload`, `stall:2.5`,
`rate_limit:7@SE`. It comes in the header `x-standin-fault` or in the JSON field `standin_fault`; the field
reaches the stand-in through a gateway because unknown fields are forwarded. With `@ZONE` only the stand-in of
that zone obeys. Refuses to know how an answer is sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_PATTERN = re.compile(r"(?P<name>[a-z_]+)(?::(?P<amount>\d+(?:\.\d+)?))?(?:@(?P<zone>[A-Z0-9-]+))?")


class FaultName(StrEnum):
    """What goes wrong, and what the amount means."""

    RATE_LIMIT = "rate_limit"  # 429, retry-after: amount seconds (1)
    OVERLOAD = "overload"  # 503 with an overload body and Retry-After: amount seconds (1)
    UNAVAILABLE = "unavailable"  # 503 without Retry-After: nobody can tell whether the work ran
    ERROR = "error"  # 500
    CONTENT_POLICY = "content_policy"  # 400 content_policy_violation
    REFUSED_KEY = "refused_key"  # 401, as with a wrong credential
    RESET = "reset"  # the work is done, then the connection is reset before the first byte
    CUT = "cut"  # 200, half of the body, then the connection closes
    STALL = "stall"  # the answer comes amount seconds later (5)
    STALL_BODY = "stall_body"  # half of the body, amount seconds of silence (5), then the rest
    MALFORMED = "malformed"  # 200 with a body that is no JSON
    WRONG_SHAPE = "wrong_shape"  # 200 with JSON that is no images answer
    SUCCESS_ERROR = "success_error"  # 200 with an error object whose code is the amount (500)
    HTML = "html"  # 200 with a text/html body, as a captive proxy gives
    IMAGES = "images"  # amount images come back, whatever was asked; 0 is possible
    SIZE = "size"  # pictures are amount pixels square, whatever was asked
    GZIP = "gzip"  # a good answer with content-encoding: gzip
    HUGE = "huge"  # each picture padded to amount megabytes (50)
    STREAM_RESET = "stream_reset"  # a stream is reset after amount whole events (1)
    STREAM_CUT = "stream_cut"  # a stream is reset in the middle of the event after amount whole ones (1)
    STREAM_END = "stream_end"  # a stream ends in order after amount events (1), before it is complete
    STREAM_ERROR = "stream_error"  # an error event takes the place of the event after amount whole ones (1)
    STREAM_STALL = "stream_stall"  # amount seconds of silence (5) before each event
    NO_USAGE = "no_usage"  # no usage in the answer, whatever the family of the model
    NO_TOOL_USAGE = "no_tool_usage"  # a conversation's usage says nothing of image tokens
    IGNORE_STREAM = "ignore_stream"  # a JSON answer, although a stream was asked for


_NAMES = tuple(name.value for name in FaultName)
_DEFAULT_AMOUNT: dict[FaultName, float] = {
    FaultName.RATE_LIMIT: 1,
    FaultName.OVERLOAD: 1,
    FaultName.STALL: 5,
    FaultName.STALL_BODY: 5,
    FaultName.SUCCESS_ERROR: 500,
    FaultName.IMAGES: 1,
    FaultName.SIZE: 512,
    FaultName.HUGE: 50,
    FaultName.STREAM_RESET: 1,
    FaultName.STREAM_CUT: 1,
    FaultName.STREAM_END: 1,
    FaultName.STREAM_ERROR: 1,
    FaultName.STREAM_STALL: 5,
}


class UnknownFault(ValueError):
    """The text names no fault; its message lists the names there are."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `amount` has the unit that its name says; `zone` limits it to one stand-in."""

    name: FaultName
    amount: float = 0.0
    zone: str | None = None

    def strikes(self, zone: str) -> bool:
        """Whether the stand-in of `zone` obeys."""
        return self.zone is None or self.zone == zone


def parse_fault(text: str) -> Fault:
    """The fault that `text` asks for; raises UnknownFault."""
    match = _PATTERN.fullmatch(text)
    if match is None or match["name"] not in _NAMES:
        raise UnknownFault(f"unknown fault {text[:80]!r}; known: {', '.join(_NAMES)}")
    name = FaultName(match["name"])
    amount = float(match["amount"]) if match["amount"] else _DEFAULT_AMOUNT.get(name, 0.0)
    return Fault(name, amount, match["zone"])
