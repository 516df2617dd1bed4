"""The `ecogate` key that a client may ask for in its answers: the same figures as in the headers, with parts.

Added behind the last member of an object that is otherwise left byte for byte as the service wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.footprint.quantities import Footprint
    from gateway.routing.rank import Route

CLOSING = b"}"
BLANKS = b" \t"


def ecogate_member(request_id: str, route: Route, footprint: Footprint, basis: str) -> bytes:
    """A comma and the member, as they are put before an object's closing brace."""
    value = {
        "request_id": request_id,
        "deployment": route.deployment.id,
        "basis": basis,
        "footprint": footprint.as_json(),
    }
    return b',"ecogate":' + msgspec.json.encode(value)


@dataclass(slots=True)
class Annotator:
    """Adds the member to the data of completed pictures. `member` gives it for what came so far.

    Only a closing brace at the very end of a chunk is held back, until the next chunk shows what it closes.
    """

    member: Callable[[], bytes]
    held: bytes = b""

    def __call__(self, chunk: bytes, completed: list[int]) -> bytes:
        """The chunk with what was held before and what is added; `completed` are offsets in `chunk`."""
        shift = len(self.held)
        text, self.held = self.held + chunk, b""
        pieces: list[bytes] = []
        start = 0
        for end in completed:
            brace = text.rfind(CLOSING, start, end + shift)
            pieces += [text[start:brace], self.member()]
            start = brace
        rest = text[start:]
        bare = rest.rstrip(BLANKS)
        if bare.endswith(CLOSING):
            rest, self.held = bare[:-1], rest[len(bare) - 1 :]
        return b"".join((*pieces, rest))
