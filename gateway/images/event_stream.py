"""A stream of events (SSE), read while it passes: pictures, partial pictures, usage, errors.

Lines may be of any length and chunks may cut anywhere; nothing is held back and no picture is kept. What the
events of a route mean is said by its reader; that of the Images API is here. Refuses to know where the bytes
go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from gateway.images.answer import Delivered, largest, numbers, output_tokens, pixels_at
from gateway.images.pixels import Pixels, pixels_in_text
from gateway.images.request import read_size
from gateway.images.skeleton import Skeleton, SkeletonTooLarge

LF, CR = 0x0A, 0x0D
LONGEST_FIELD = 256
DATA = b"data:"
COMPLETED = frozenset({"image_generation.completed", "image_edit.completed"})
PARTIAL = frozenset({"image_generation.partial_image", "image_edit.partial_image"})


class Events(Protocol):
    """What the events of one route mean."""

    @property
    def failed(self) -> bool:
        """Whether there was an error among them."""

    def skeleton(self) -> Skeleton:
        """What the data of the next event is read into."""

    def read(self, name: str, data: Skeleton) -> bool:
        """Reads an event; true when figures belong into it. Raises `msgspec.DecodeError` for no whole one."""

    def ended(self, images: int) -> bool:
        """Whether all of `images` that were asked for came, or the service said that it is done."""

    def whole(self) -> bool:
        """Whether the stream may end here."""

    def delivered(self) -> Delivered:
        """The facts so far, as those of an answer."""


class _Event(msgspec.Struct):
    type: str | None = None
    b64_json: str | None = None
    url: str | None = None
    size: str | None = None
    quality: str | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


@dataclass(slots=True)
class ImageEvents:
    """The events of the Images API."""

    images: int = 0
    partial_images: int = 0
    failed: bool = False
    _sizes: list[Pixels | None] = field(default_factory=list)
    _quality: str | None = None
    _usages: list[dict[str, Any]] = field(default_factory=list)

    def skeleton(self) -> Skeleton:
        return Skeleton(pixels_in_text)

    def read(self, name: str, data: Skeleton) -> bool:
        """True for a completed picture."""
        event = msgspec.json.decode(data.json(), type=_Event)
        kind = event.type or name
        if kind == "error" or event.error:
            self.failed = True
        if kind in PARTIAL:
            self.partial_images += 1
        if kind not in COMPLETED or not (event.b64_json or event.url):
            return False
        self.images += 1
        seen = pixels_at(event.b64_json, data.long)
        self._sizes.append(seen or (read_size(event.size) if event.size else None))
        self._quality = event.quality or self._quality
        if event.usage:
            self._usages.append(numbers(event.usage))
        return True

    def ended(self, images: int) -> bool:
        return self.images >= images

    def whole(self) -> bool:
        return self.images > 0

    def delivered(self) -> Delivered:
        width, height = largest(self._sizes)
        usage = _sum(self._usages) if len(self._usages) == self.images else None
        return Delivered(
            images=self.images,
            width=width,
            height=height,
            quality=self._quality,
            output_tokens=output_tokens(usage),
            usage=usage,
            partial_images=self.partial_images,
        )


@dataclass(slots=True)
class StreamScan:
    """Takes a stream apart into events, for `events` to read."""

    events: Events = field(default_factory=ImageEvents)
    _line: bytearray = field(default_factory=bytearray)
    _event_name: bytes = b""
    _data: Skeleton | None = None
    _in_data: bool = False
    _line_is_empty: bool = True
    _after_cr: bool = False
    _too_large: bool = False

    @property
    def between_events(self) -> bool:
        """Whether the next byte begins a new event."""
        return self._data is None and not self._event_name and self._line_is_empty

    @property
    def takes_a_comment(self) -> bool:
        """Whether a comment line may be put in here: between events, and not within the end of a line."""
        return self.between_events and not self._after_cr

    def feed(self, chunk: bytes) -> list[int]:
        """The next bytes. Gives the offsets in `chunk` at which data ends into which figures belong."""
        completed: list[int] = []
        position = 0
        while position < len(chunk):
            if self._after_cr:
                self._after_cr = False
                if chunk[position] == LF:
                    position += 1
                    continue
            newline = chunk.find(b"\n", position)
            end = newline if newline >= 0 else len(chunk)
            carriage = chunk.find(b"\r", position, end)
            end = carriage if carriage >= 0 else end
            self._through(chunk[position:end])
            if end < len(chunk):
                self._after_cr = chunk[end] == CR
                if self._end_of_line():
                    completed.append(end)
            position = end + 1
        return completed

    def _through(self, piece: bytes) -> None:
        if not piece:
            return
        self._line_is_empty = False
        if not self._in_data and len(self._line) < len(DATA):
            missing = len(DATA) - len(self._line)
            self._line += piece[:missing]
            piece = piece[missing:]
            self._in_data = self._line == DATA
            if self._in_data and self._data is None:
                self._data = self.events.skeleton()
                self._too_large = False
        if self._in_data:
            self._feed_data(piece)
        else:
            self._line += piece[: LONGEST_FIELD - len(self._line)]

    def _feed_data(self, piece: bytes) -> None:
        assert self._data is not None, "only called in a data line"  # noqa: S101
        if self._too_large:
            return
        try:
            self._data.feed(piece)
        except SkeletonTooLarge:
            self._too_large = True

    def _end_of_line(self) -> bool:
        """Closes a line; true when it was data into which figures belong."""
        completed = False
        if self._line_is_empty:
            self._data, self._event_name = None, b""
        elif self._in_data:
            completed = self._read_event()
        elif self._line.startswith(b"event:"):
            self._event_name = bytes(self._line[6:]).strip()
        self._line.clear()
        self._in_data, self._line_is_empty = False, True
        return completed

    def _read_event(self) -> bool:
        """Reads an event at the end of a data line that completes it."""
        assert self._data is not None, "only called after a data line"  # noqa: S101
        try:
            return self.events.read(self._event_name.decode("ascii", "replace"), self._data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._feed_data(b"\n")
            return False


def _sum(usages: list[dict[str, Any]]) -> dict[str, Any] | None:
    """One usage for all pictures of a stream; each completed event reports its own."""
    if not usages:
        return None
    total: dict[str, Any] = {}
    for usage in usages:
        for name, value in usage.items():
            if isinstance(value, dict):
                inner = total.setdefault(name, {})
                if isinstance(inner, dict):
                    for key, number in value.items():
                        inner[key] = inner.get(key, 0) + number
            elif not isinstance(total.get(name), dict):
                total[name] = total.get(name, 0) + value
    return total
