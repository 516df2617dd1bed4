"""What an image service really gave back: how many images, how large, which token usage.

Reads facts out of an Images API answer and keeps no picture. Refuses to judge them: pricing is elsewhere.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import msgspec

from gateway.images.pixels import Pixels, pixels_in_text, pixels_of
from gateway.images.request import read_size
from gateway.images.skeleton import HEAD_BYTES, Skeleton, SkeletonTooLarge, marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_ARCHIVED = 64
PIPELINE_RUN = re.compile(r"[A-Za-z0-9_]+\.forward")
STAGE = re.compile(r"stage_[0-9]+_gen_ms")
PICTURE_NAMES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".svg")


class _Item(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Metrics(msgspec.Struct):
    stage_durations: dict[str, float] | None = None


class _Answer(msgspec.Struct):
    data: list[_Item] | None = None
    usage: dict[str, Any] | None = None
    svg_usage: dict[str, Any] | None = None
    size: str | None = None
    quality: str | None = None
    metrics: _Metrics | None = None
    inference_time_s: float | None = None
    error: Any = None


class UnreadableAnswer(ValueError):
    """The answer is not one that a service gives: not JSON, or of other types."""


class ErrorAnswer(UnreadableAnswer):
    """An error in place of pictures, under a status of success; `error` is as the service wrote it."""

    def __init__(self, error: object) -> None:
        super().__init__("the answer is an error")
        self.error = error


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture as it came."""

    width: int | None = None
    height: int | None = None
    quality: str | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """Facts about an answer. `None` means that the answer does not say.

    `service_seconds` is how long the service says that it computed for the whole request. `pictures` are
    there where each of them can be told apart, `image_model` where the answer names what drew them.
    `text_tokens` and `input_tokens` are those of the text beside the images.
    """

    images: int
    width: int | None
    height: int | None
    quality: str | None
    output_tokens: int | None
    usage: dict[str, Any] | None
    partial_images: int | None = None
    service_seconds: float | None = None
    pictures: tuple[Picture, ...] = ()
    image_model: str | None = None
    text_tokens: int | None = None
    input_tokens: int | None = None

    @property
    def says_what_it_took(self) -> bool:
        """Whether the service reported tokens or time of the whole answer, rather than only giving images."""
        if self.output_tokens is None and self.images == 0:
            return self.text_tokens is not None
        return self.output_tokens is not None or self.service_seconds is not None


def _images_skeleton() -> Skeleton:
    return Skeleton(pixels_in_text)


@dataclass(slots=True)
class AnswerScan:
    """Reads an answer while it passes, in pieces of any size and in bounded memory.

    `read` finds the facts in what is left of a JSON answer, which is that of the Images API unless said
    otherwise.
    """

    media_type: str = "application/json"
    read: Callable[[Skeleton], Delivered] | None = None
    _skeleton: Skeleton = field(default_factory=_images_skeleton)
    _head: bytearray = field(default_factory=bytearray)
    _too_large: bool = False

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the body."""
        if self.media_type.startswith("image/"):
            self._head += chunk[: HEAD_BYTES - len(self._head)]
        elif self.media_type != "application/zip" and not self._too_large:
            try:
                self._skeleton.feed(chunk)
            except SkeletonTooLarge:
                self._too_large = True

    def delivered(self, body: IO[bytes] | None = None) -> Delivered:
        """The facts. `body` is the whole answer, which only an archive needs.

        Raises `UnreadableAnswer` when there was no such answer, `ErrorAnswer` when it is an error.
        """
        if self.media_type.startswith("image/"):
            return _pictures([pixels_of(bytes(self._head))])
        if self.media_type == "application/zip" and body is not None:
            return _pictures(_archived(body))
        if self._too_large:
            raise UnreadableAnswer("the answer is too large to be one about pictures")
        return (self.read or _from_json)(self._skeleton)


def read_answer(body: bytes) -> Delivered:
    """The facts in a whole JSON answer. Raises `UnreadableAnswer`."""
    scan = AnswerScan()
    scan.feed(body)
    return scan.delivered()


def largest(sizes: Iterable[Pixels | None]) -> tuple[int | None, int | None]:
    """Images of one answer share their size; where they do not, the largest is the cautious one."""
    known = [size for size in sizes if size is not None]
    return max(known, key=lambda size: size[0] * size[1]) if known else (None, None)


def pixels_at(text: str | None, long: list[object]) -> Pixels | None:
    """The size of the picture whose text was `text`, as the skeleton of a document has it."""
    if not text:
        return None
    fact = marked(text, long)
    if isinstance(fact, tuple):
        return fact
    return pixels_in_text(text.encode()) if fact is None else None


def _from_json(skeleton: Skeleton) -> Delivered:
    try:
        answer = msgspec.json.decode(skeleton.json(), type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableAnswer("the answer is not the JSON of an Images API answer") from None
    images = [item for item in answer.data or () if item.b64_json or item.url]
    if answer.error and not images:
        raise ErrorAnswer(answer.error)
    if answer.data is None:
        raise UnreadableAnswer("the answer has no images")
    width, height = largest(pixels_at(item.b64_json, skeleton.long) for item in images)
    if width is None and answer.size:
        width, height = read_size(answer.size) or (None, None)
    usage = numbers(answer.usage) if answer.usage else None
    if answer.svg_usage:
        usage = {**(usage or {}), "svg_usage": numbers({"svg_usage": answer.svg_usage}).get("svg_usage", {})}
    return Delivered(
        images=len(images),
        width=width,
        height=height,
        quality=answer.quality,
        output_tokens=output_tokens(usage),
        usage=usage or None,
        service_seconds=_seconds(answer),
    )


def _seconds(answer: _Answer) -> float | None:
    stages = answer.metrics.stage_durations if answer.metrics is not None else None
    seconds = pipeline_seconds(stages) if stages else answer.inference_time_s
    return seconds if seconds is not None and seconds > 0 else None


def pipeline_seconds(stages: Mapping[str, float]) -> float | None:
    """Compute time in vLLM-Omni's `stage_durations`; `None` where they do not hold that of the whole request.

    They mix units and overlap (read in release 0.30): `Pipeline.forward` is the run on the accelerator in
    seconds, and what else begins with that name is inside it; names that end in `_ms` are milliseconds of
    waiting or of a stage from its queue to its end. With a second stage the run is only a part of the work.
    """
    runs = [seconds for name, seconds in stages.items() if PIPELINE_RUN.fullmatch(name)]
    others = sum(1 for name in stages if name.startswith("ar_stage_") or STAGE.fullmatch(name))
    return runs[0] if len(runs) == 1 and others <= 1 else None


def _pictures(sizes: list[Pixels | None]) -> Delivered:
    width, height = largest(sizes)
    return Delivered(len(sizes), width, height, None, None, None)


def _archived(body: IO[bytes]) -> list[Pixels | None]:
    """The sizes of the pictures in a zip archive; none is unpacked further than its head."""
    try:
        body.seek(0)
        with zipfile.ZipFile(body) as archive:
            entries = [
                entry for entry in archive.infolist() if entry.filename.lower().endswith(PICTURE_NAMES)
            ]
            if len(entries) > MAX_ARCHIVED:
                raise UnreadableAnswer("the archive has too many entries")
            sizes = []
            for entry in entries:
                with archive.open(entry) as picture:
                    sizes.append(pixels_of(picture.read(HEAD_BYTES)))
            return sizes
    except (zipfile.BadZipFile, NotImplementedError, OSError, RuntimeError, EOFError):
        raise UnreadableAnswer("the answer is no archive that can be read") from None


def output_tokens(usage: dict[str, Any] | None) -> int | None:
    """The output tokens of a usage object, where it names any."""
    tokens = usage.get("output_tokens") if usage else None
    return tokens if isinstance(tokens, int) and tokens > 0 else None


def numbers(usage: dict[str, Any]) -> dict[str, Any]:
    """Only the numbers of a usage object, two levels deep: no text of a service is stored."""
    kept: dict[str, Any] = {}
    for name, value in list(usage.items())[:32]:
        if not name.isidentifier() or len(name) > 64:  # noqa: PLR2004
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            kept[name] = value
        elif isinstance(value, dict):
            inner = {
                key: number
                for key, number in list(value.items())[:32]
                if key.isidentifier() and isinstance(number, int | float) and not isinstance(number, bool)
            }
            if inner:
                kept[name] = inner
    return kept
