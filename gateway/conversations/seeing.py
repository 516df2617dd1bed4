"""Pictures inside the answers of conversations: told apart, measured, and counted once.

The same picture may pass several times: in an item, again in the whole answer, or in a repeated chunk.
Refuses to keep it; the digest of its beginning is enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from gateway.images.answer import Picture, largest
from gateway.images.pixels import pixels_in_text
from gateway.images.request import read_size
from gateway.images.skeleton import Skeleton, marked

if TYPE_CHECKING:
    from gateway.images.pixels import Pixels

MAX_SKELETON_BYTES = 4 * 1024 * 1024
"""An answer repeats the tools of its request, which may be many."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The beginning of a long string: its digest, and its size where it is a picture."""

    digest: str
    pixels: Pixels | None


def see(head: bytes) -> Seen:
    """What is kept of a long string."""
    return Seen(blake2b(head, digest_size=16).hexdigest(), pixels_in_text(head))


def skeleton() -> Skeleton:
    """What an answer of a conversation is read into."""
    return Skeleton(see, max_bytes=MAX_SKELETON_BYTES)


@dataclass(slots=True)
class Gallery:
    """The pictures of one answer by what tells them apart."""

    _pictures: dict[str, Picture] = field(default_factory=dict)

    def add(self, key: str, text: str, long: list[object], *, size: Any = None, quality: Any = None) -> None:
        """Takes a picture by its text and what the service says of it; one that is known stays."""
        pixels = seen.pixels if (seen := _seen(text, long)) is not None else pixels_in_text(text.encode())
        pixels = pixels or (read_size(size) if isinstance(size, str) else None)
        width, height = pixels or (None, None)
        known = quality if isinstance(quality, str) and quality != "auto" else None
        self._pictures.setdefault(key, Picture(width, height, known))

    def all(self) -> tuple[Picture, ...]:
        return tuple(self._pictures.values())

    def largest(self) -> Pixels | tuple[None, None]:
        """The size of the largest."""
        sizes = [(one.width, one.height) for one in self._pictures.values()]
        width, height = largest((wide, high) if wide and high else None for wide, high in sizes)
        return (width, height) if width and height else (None, None)


def digest_at(text: str, long: list[object]) -> str:
    """What tells a string from others: its digest, or the string itself where it is short."""
    seen = _seen(text, long)
    return seen.digest if seen is not None else text


def whole_number(value: object) -> int | None:
    """A count; zero is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _seen(text: str, long: list[object]) -> Seen | None:
    fact = marked(text, long)
    return fact if isinstance(fact, Seen) else None
