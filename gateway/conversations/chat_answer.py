"""What a chat completion says about work: pictures, image tokens and text tokens; whole or in chunks.

Image tokens are a part of `completion_tokens`, named in their details; without them pictures are counted.
Refuses to judge the facts: pricing is elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.conversations.seeing import Gallery, digest_at, skeleton, whole_number
from gateway.images.answer import Delivered, ErrorAnswer, UnreadableAnswer, numbers

if TYPE_CHECKING:
    from gateway.images.skeleton import Skeleton


class _Completion(msgspec.Struct):
    choices: list[Any] | None = None
    usage: Any = None
    error: Any = None


@dataclass(slots=True)
class _Facts:
    """Collects what one answer says, in one piece or many."""

    gallery: Gallery = field(default_factory=Gallery)
    usage: dict[str, Any] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)
    failed: bool = False

    def read(self, completion: _Completion, long: list[object]) -> bool:
        """A completion or a chunk of one; true when it closes a choice or brings the usage."""
        closing = False
        for position, choice in enumerate(completion.choices or ()):
            if not isinstance(choice, dict):
                continue
            index = whole_number(choice.get("index"))
            index = position if index is None else index
            self.open.add(index)
            for name in ("message", "delta"):
                self._pictures(index, choice.get(name), long)
            if choice.get("finish_reason") is not None:
                closing = True
                self.closed.add(index)
            if choice.get("error") or choice.get("finish_reason") == "error":
                self.failed = True
        self.failed = self.failed or bool(completion.error)
        if isinstance(completion.usage, dict):
            self.usage = numbers(completion.usage)
            closing = True
        return closing

    def _pictures(self, choice: int, message: object, long: list[object]) -> None:
        images = message.get("images") if isinstance(message, dict) else None
        for image in images if isinstance(images, list) else ():
            place = image.get("image_url") if isinstance(image, dict) else None
            url = place.get("url") if isinstance(place, dict) else place
            if isinstance(url, str) and url:
                self.gallery.add(f"{choice}:{digest_at(url, long)}", url, long)

    def delivered(self) -> Delivered:
        width, height = self.gallery.largest()
        pictures, usage = self.gallery.all(), self.usage
        details = usage.get("completion_tokens_details")
        image_tokens = whole_number(details.get("image_tokens")) if isinstance(details, dict) else None
        written = whole_number(usage.get("completion_tokens"))
        return Delivered(
            images=len(pictures),
            width=width,
            height=height,
            quality=None,
            output_tokens=image_tokens or None,
            usage=usage or None,
            pictures=pictures,
            text_tokens=None if written is None else max(0, written - (image_tokens or 0)),
            input_tokens=whole_number(usage.get("prompt_tokens")),
        )


def read_chat_answer(answer: Skeleton) -> Delivered:
    """The facts in a whole answer. Raises `UnreadableAnswer`, or `ErrorAnswer` for one that is an error."""
    try:
        completion = msgspec.json.decode(answer.json(), type=_Completion)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableAnswer("the answer is not the JSON of a chat completion") from None
    facts = _Facts()
    facts.read(completion, answer.long)
    delivered = facts.delivered()
    if completion.error and not delivered.images:
        raise ErrorAnswer(completion.error)
    if completion.choices is None:
        raise UnreadableAnswer("the answer has no choices")
    return delivered


@dataclass(slots=True)
class ChatEvents:
    """The chunks of a streamed chat completion."""

    _facts: _Facts = field(default_factory=_Facts)

    @property
    def failed(self) -> bool:
        return self._facts.failed

    def skeleton(self) -> Skeleton:
        return skeleton()

    def read(self, name: str, data: Skeleton) -> bool:
        """True for a chunk that closes a choice or brings the usage; the last of them has all figures."""
        if name == "error":
            self._facts.failed = True
        return self._facts.read(msgspec.json.decode(data.json(), type=_Completion), data.long)

    def ended(self, images: int) -> bool:
        """`images` choices were asked for, and as many must be closed."""
        return self.whole() and len(self._facts.closed) >= images

    def whole(self) -> bool:
        return bool(self._facts.closed) and self._facts.open <= self._facts.closed

    def delivered(self) -> Delivered:
        return self._facts.delivered()
