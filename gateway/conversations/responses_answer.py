"""What a Responses answer says about work: pictures, image tokens, text tokens; whole or as events.

`usage` is the text model's alone. Image tokens are in `tool_usage.image_gen`, where they are at all; without
them the items of the image tool are counted. Refuses to judge the facts: pricing is elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.conversations.seeing import Gallery, skeleton, whole_number
from gateway.images.answer import Delivered, ErrorAnswer, UnreadableAnswer, numbers

if TYPE_CHECKING:
    from gateway.images.skeleton import Skeleton

ITEM = "image_generation_call"
PARTIAL = "response.image_generation_call.partial_image"
LAST = frozenset({"response.completed", "response.incomplete"})
MAX_MODEL_CHARACTERS = 200


class _Response(msgspec.Struct):
    output: list[Any] | None = None
    usage: Any = None
    tool_usage: Any = None
    tools: Any = None
    error: Any = None


class _Event(msgspec.Struct):
    type: str | None = None
    response: Any = None
    item: Any = None
    output_index: Any = None
    error: Any = None


@dataclass(slots=True)
class _Facts:
    """Collects what one answer says, in one piece or many."""

    gallery: Gallery = field(default_factory=Gallery)
    usage: dict[str, Any] = field(default_factory=dict)
    image_usage: dict[str, Any] = field(default_factory=dict)
    image_model: str | None = None

    def item(self, item: object, index: object, long: list[object]) -> None:
        """An item of the output; only a picture matters."""
        if not isinstance(item, dict) or item.get("type") != ITEM:
            return
        result = item.get("result")
        if isinstance(result, str) and result:
            key = item.get("id")
            key = key if isinstance(key, str) and key else f"#{index}"
            self.gallery.add(key, result, long, size=item.get("size"), quality=item.get("quality"))

    def response(self, response: _Response, long: list[object]) -> None:
        """The whole answer, which repeats the items."""
        for index, item in enumerate(response.output or ()):
            self.item(item, index, long)
        self.usage = _numbers(response.usage)
        if isinstance(response.tool_usage, dict):
            self.image_usage = _numbers(response.tool_usage.get("image_gen"))
        for tool in response.tools if isinstance(response.tools, list) else ():
            model = tool.get("model") if isinstance(tool, dict) else None
            if isinstance(model, str) and 0 < len(model) <= MAX_MODEL_CHARACTERS:
                self.image_model = model

    def delivered(self, partial_images: int | None) -> Delivered:
        width, height = self.gallery.largest()
        pictures = self.gallery.all()
        image_tokens = whole_number(self.image_usage.get("output_tokens")) or None
        kept = {"text_model": self.usage, "image_gen": self.image_usage}
        return Delivered(
            images=len(pictures),
            width=width,
            height=height,
            quality=None,
            output_tokens=image_tokens,
            usage={name: usage for name, usage in kept.items() if usage} or None,
            partial_images=partial_images,
            pictures=pictures,
            image_model=self.image_model,
            text_tokens=whole_number(self.usage.get("output_tokens")),
            input_tokens=whole_number(self.usage.get("input_tokens")),
        )


def read_response_answer(answer: Skeleton) -> Delivered:
    """The facts in a whole answer. Raises `UnreadableAnswer`, or `ErrorAnswer` for one that is an error."""
    try:
        response = msgspec.json.decode(answer.json(), type=_Response)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnreadableAnswer("the answer is not the JSON of a response") from None
    facts = _Facts()
    facts.response(response, answer.long)
    delivered = facts.delivered(None)
    if response.error and not delivered.images and delivered.output_tokens is None:
        raise ErrorAnswer(response.error)
    if response.output is None:
        raise UnreadableAnswer("the answer has no output")
    return delivered


@dataclass(slots=True)
class ResponseEvents:
    """The events of a streamed response."""

    failed: bool = False
    _done: bool = False
    _partial_images: int = 0
    _facts: _Facts = field(default_factory=_Facts)

    def skeleton(self) -> Skeleton:
        return skeleton()

    def read(self, name: str, data: Skeleton) -> bool:
        """True for the last event of an answer, which repeats it whole."""
        event = msgspec.json.decode(data.json(), type=_Event)
        kind = event.type or name
        if kind in {"error", "response.failed"} or event.error:
            self.failed = True
        if kind == PARTIAL:
            self._partial_images += 1
        if kind == "response.output_item.done":
            self._facts.item(event.item, event.output_index, data.long)
        if kind not in LAST:
            return False
        self._facts.response(msgspec.convert(event.response, _Response), data.long)
        self._done = True
        return True

    def ended(self, images: int) -> bool:
        del images  # the answer says itself when it is over
        return self._done

    def whole(self) -> bool:
        return self._done

    def delivered(self) -> Delivered:
        return self._facts.delivered(self._partial_images)


def _numbers(usage: object) -> dict[str, Any]:
    return numbers(usage) if isinstance(usage, dict) else {}
