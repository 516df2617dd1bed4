"""JSON without its long strings, read in pieces of any size and in bounded memory.

A picture is one long string in a small document. The scanner jumps from quote to quote, keeps everything but
the inside of long strings, and leaves a mark in the place of each. Refuses to know what the document means;
whoever decodes the skeleton decides whether it is valid JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT_BYTES = 256
HEAD_BYTES = 64 * 1024
"""Kept of a long string while it passes: enough for the metadata that stands before a picture's size."""
MAX_SKELETON_BYTES = 256 * 1024
MARK = "\ue000"
QUOTE, BACKSLASH = 0x22, 0x5C


class SkeletonTooLarge(ValueError):
    """What is left without the long strings is larger than any answer about pictures."""


@dataclass(slots=True)
class Skeleton:
    """Feed it a JSON document; `json` is what is left of it.

    `on_long` gets the first bytes of a long string at its end, in the order of appearance, and gives back
    the fact to keep about it; `long` holds these facts. The mark of a long string is `MARK` and its index.
    """

    on_long: Callable[[bytes], object]
    long: list[object] = field(default_factory=list)
    max_bytes: int = MAX_SKELETON_BYTES
    _kept: bytearray = field(default_factory=bytearray)
    _inside: bytearray | None = None
    _length: int = 0
    _escaped: bool = False

    def feed(self, chunk: bytes | memoryview) -> None:
        """The next bytes. Raises `SkeletonTooLarge`."""
        chunk = bytes(chunk)
        position = 0
        while position < len(chunk):
            if self._inside is not None:
                position = self._through_string(chunk, position)
                continue
            quote = chunk.find(b'"', position)
            end = quote if quote >= 0 else len(chunk)
            self._keep(chunk[position:end])
            if quote >= 0:
                self._inside, self._length = bytearray(), 0
            position = end + 1

    def json(self) -> bytes:
        """The skeleton; no valid JSON when the document broke off inside a string."""
        return bytes(self._kept) if self._inside is None else b""

    def _through_string(self, chunk: bytes, start: int) -> int:
        """The position behind the string, or the end of the chunk."""
        position = start
        if self._escaped:
            self._escaped = False
            position += 1
        while True:
            quote = chunk.find(b'"', position)
            end = quote if quote >= 0 else len(chunk)
            before = end
            while before > position and chunk[before - 1] == BACKSLASH:
                before -= 1
            odd = (end - before) % 2 == 1
            if quote < 0:
                self._escaped = odd
                self._take(chunk, start, end)
                return end
            if not odd:
                self._take(chunk, start, end)
                self._close()
                return end + 1
            position = quote + 1

    def _take(self, chunk: bytes, start: int, end: int) -> None:
        assert self._inside is not None, "only called inside a string"  # noqa: S101
        room = HEAD_BYTES - len(self._inside)
        if room > 0:
            self._inside += chunk[start : min(end, start + room)]
        self._length += end - start

    def _close(self) -> None:
        assert self._inside is not None, "only called inside a string"  # noqa: S101
        text = bytes(self._inside)
        if self._length > SHORT_BYTES:
            text = f"{MARK}{len(self.long)}".encode()
            self.long.append(self.on_long(bytes(self._inside)))
        self._keep(b'"' + text + b'"')
        self._inside = None

    def _keep(self, piece: bytes) -> None:
        self._kept += piece
        if len(self._kept) > self.max_bytes:
            raise SkeletonTooLarge("the answer is no answer about pictures")


def marked(text: str, long: list[object]) -> object | None:
    """The fact behind a mark; `None` when `text` is an ordinary string."""
    index = text[1:]
    if text[:1] != MARK or not index.isdecimal() or int(index) >= len(long):
        return None
    return long[int(index)]
