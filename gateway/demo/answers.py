"""The stand-in's JSON: what it reads from a generations body and what it answers.

Follows the public Images API in shape; the token counts are the stand-in's own and only look like those of a
model that is billed by tokens. Refuses to know sockets and time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from gateway.demo.drawing import Format

_TICKS_PER_PICTURE = 200_000_000  # 0.02 USD
UsageFamily = Literal["none", "tokens", "ticks"]
ResponseFormat = Literal["url", "b64_json"]

_SIZE = re.compile(r"(\d{1,4})x(\d{1,4})")
_RESPONSE_FORMATS: dict[str, ResponseFormat] = {"url": "url", "b64_json": "b64_json"}
_FORMATS: dict[str, Format] = {"png": "png", "jpeg": "jpeg", "webp": "webp"}
_MOST_IMAGES = 10
_MOST_PARTIALS = 3
_MOST_PIXELS_A_SIDE = 4096
_AUTO_SIZE = "1024x1024"
_AUTO_QUALITY = "medium"
_SQUARE_PIXELS = 1024 * 1024
_TOKENS_PER_SQUARE = {"low": 272, "medium": 1056, "high": 4160}


class BadRequest(ValueError):
    """The body is not one that an image service would take; `param` names the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Job:
    """What one accepted body asks for, with nothing left open."""

    prompt: str
    n: int
    width: int
    height: int
    quality: str
    response_format: ResponseFormat
    output_format: Format
    steps: int | None
    stream: bool = False
    partial_images: int = 0

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}"


def read_job(body: dict[str, Any]) -> Job:
    """The job that a generations body asks for; raises BadRequest."""
    prompt, n = body.get("prompt"), body.get("n")
    if not isinstance(prompt, str) or not prompt:
        raise BadRequest("prompt must be a non-empty string", "prompt")
    n = 1 if n is None else n
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= _MOST_IMAGES:
        raise BadRequest(f"n must be between 1 and {_MOST_IMAGES}", "n")
    width, height = _read_size(body.get("size"))
    quality = body.get("quality")
    response_format = _RESPONSE_FORMATS.get(str(body.get("response_format") or "b64_json"))
    if response_format is None:
        raise BadRequest("response_format must be url or b64_json", "response_format")
    output_format = _FORMATS.get(str(body.get("output_format") or "png"))
    if output_format is None:
        raise BadRequest("output_format must be png, jpeg or webp", "output_format")
    steps = body.get("num_inference_steps", body.get("steps"))
    return Job(
        prompt=prompt,
        n=n,
        width=width,
        height=height,
        quality=quality if isinstance(quality, str) and quality != "auto" else _AUTO_QUALITY,
        response_format=response_format,
        output_format=output_format,
        steps=steps if isinstance(steps, int) and steps > 0 else None,
        stream=body.get("stream") is True,
        partial_images=_partial_images(body.get("partial_images")),
    )


def _partial_images(value: object) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_PARTIALS:
        raise BadRequest(f"partial_images must be between 0 and {_MOST_PARTIALS}", "partial_images")
    return value


def _read_size(size: object) -> tuple[int, int]:
    match = _SIZE.fullmatch(_AUTO_SIZE if size in (None, "auto") else str(size))
    if match is None:
        raise BadRequest("size must be auto or WIDTHxHEIGHT", "size")
    width, height = int(match[1]), int(match[2])
    if not (1 <= width <= _MOST_PIXELS_A_SIDE and 1 <= height <= _MOST_PIXELS_A_SIDE):
        raise BadRequest(f"each side must have 1 to {_MOST_PIXELS_A_SIDE} pixels", "size")
    return width, height


def images_answer(
    job: Job, pictures: list[dict[str, str]], *, created: int, usage: UsageFamily
) -> dict[str, Any]:
    """The Images API answer; `pictures` are the entries of `data`."""
    answer: dict[str, Any] = {
        "created": created,
        "data": pictures,
        "size": job.size,
        "quality": job.quality,
        "output_format": job.output_format,
    }
    if usage == "tokens":
        answer["usage"] = tokens(job, len(pictures))
    elif usage == "ticks":
        answer["usage"] = {"cost_in_usd_ticks": len(pictures) * _TICKS_PER_PICTURE}
    return answer


def tokens(job: Job, pictures: int) -> dict[str, Any]:
    """The usage of that many pictures of a job."""
    per_square = _TOKENS_PER_SQUARE.get(job.quality, _TOKENS_PER_SQUARE[_AUTO_QUALITY])
    output = pictures * round(per_square * job.width * job.height / _SQUARE_PIXELS)
    text = max(1, len(job.prompt) // 4)
    return {
        "input_tokens": text,
        "input_tokens_details": {"text_tokens": text, "image_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": output},
        "total_tokens": text + output,
    }


def error_answer(
    message: str, *, error_type: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": error_type, "param": param, "code": code}}
