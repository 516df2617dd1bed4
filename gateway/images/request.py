"""A request for images, read strictly and understood in full.

Knows every spelling of the fields that decide how much work is asked (count, size, steps, quality, frames,
partial images): each is understood and priced, or refused. Unknown fields that cost nothing are kept for
forwarding. Refuses to know deployments, prices and the network. The prompt never leaves `fields`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.errors import InvalidRequest
from gateway.images.strict_json import read_object

MAX_PROMPT_CHARACTERS = 32_000
MAX_IMAGES = 10
MAX_STEPS = 1_000
MAX_EDGE_PX = 8_192
MAX_PARTIAL_IMAGES = 3
GIF_FRAMES = range(2, 17)
DEFAULT_GIF_FRAMES = 9

STEP_NAMES = ("steps", "step", "num_inference_steps", "sample_steps")
KNOWN = frozenset(
    {
        "prompt", "model", "n", "size", "quality", "complexity", "background", "moderation", "output_format",
        "output_compression", "frame_count", "frame_duration_ms", "partial_images", "stream",
        "response_format", "style", "user", "safety_identifier", "width", "height", "seed", "negative_prompt",
        "guidance_scale", "true_cfg_scale", *STEP_NAMES,
    }
)  # fmt: skip
UNPRICED = frozenset(
    {
        "svg", "num_images", "num_images_per_prompt", "num_outputs", "number_of_images", "samples",
        "batch_size", "batch_count", "n_iter", "aspect_ratio", "resolution", "image_size", "image_config",
        "extra_params", "diffusers_kwargs", "kwargs", "extra_body", "sample_params", "layers", "enable_hr",
        "hr_scale", "enable_upscaling", "upscaling_scale", "image", "images", "image_url", "image_urls",
        "ref_images", "reference_image", "reference_images", "files", "mask", "mask_image", "strength",
        "num_frames", "frames",
    }
)  # fmt: skip
"""Fields of other image servers that change the amount of work in ways this version cannot price."""
ROUTE_TAKING = frozenset(
    {
        "api_base", "base_url", "api_key", "api_version", "api_type", "user_config", "organization",
        "webhook", "webhook_url", "callback_url", "custom_llm_provider", "extra_headers", "extra_query",
    }
)  # fmt: skip
"""Names by which other gateways let a body choose where to connect or with which credential."""
EMBEDDED_ARGUMENTS = "<sd_cpp_extra_args>"
SIZE = re.compile(r"([1-9][0-9]{1,4})[xX*]([1-9][0-9]{1,4})")

Route = Literal["images.generate"]


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What one client asks for. `None` means that the client left it open or said `auto`.

    `fields` is the body as it was written; it holds the prompt and is never logged, traced or stored.
    """

    route: Route
    model: str
    n: int
    width: int | None
    height: int | None
    quality: str | None
    steps: int | None
    guidance_passes: int | None
    frames: int
    partial_images: int
    stream: bool
    fields: dict[str, Any] = field(repr=False)

    @property
    def size(self) -> str | None:
        """The size as `WxH`, where the client gave one."""
        return f"{self.width}x{self.height}" if self.width and self.height else None

    def unknown_fields(self) -> list[str]:
        """The names in the body that this version does not know, in the order they were written."""
        return [name for name in self.fields if name not in KNOWN]


def read_generation(body: bytes) -> ImageRequest:
    """The body of `POST /v1/images/generations` as a request.

    Raises `InvalidRequest` (400) for anything malformed, out of range, ambiguous or impossible to price.
    """
    fields = read_object(body)
    _refuse_look_alikes(fields)
    _refuse_route_taking(fields)
    for name in fields:
        if name in UNPRICED and fields[name] is not None:
            raise _bad(
                f"'{name}' changes how much work is asked in a way that this version cannot price.",
                name,
                "unsupported_parameter",
            )
    prompt = _text(fields, "prompt", required=True, limit=MAX_PROMPT_CHARACTERS)
    if EMBEDDED_ARGUMENTS in prompt.lower():
        raise _bad("Arguments inside the prompt cannot be priced.", "prompt", "unsupported_value")
    width, height = _size(fields)
    return ImageRequest(
        route="images.generate",
        model=_text(fields, "model", required=True, limit=256),
        n=_whole(fields, "n", 1, MAX_IMAGES) or 1,
        width=width,
        height=height,
        quality=_open(_text(fields, "quality", limit=32)),
        steps=_steps(fields),
        guidance_passes=_guidance_passes(fields),
        frames=_frames(fields),
        partial_images=_whole(fields, "partial_images", 0, MAX_PARTIAL_IMAGES) or 0,
        stream=_flag(fields, "stream"),
        fields=fields,
    )


def read_size(text: str) -> tuple[int, int] | None:
    """`WxH` (or `W*H`) in pixels as two numbers, or `None` when `text` is not a size."""
    match = SIZE.fullmatch(text)
    if match is None:
        return None
    width, height = int(match[1]), int(match[2])
    return (width, height) if max(width, height) <= MAX_EDGE_PX else None


def _size(fields: dict[str, Any]) -> tuple[int | None, int | None]:
    text = _open(_text(fields, "size", limit=32))
    width = _whole(fields, "width", 16, MAX_EDGE_PX)
    height = _whole(fields, "height", 16, MAX_EDGE_PX)
    if (width is None) != (height is None):
        raise _bad("'width' and 'height' go together.", "width" if width is None else "height")
    if text is None:
        return width, height
    pixels = read_size(text)
    if pixels is None:
        raise _bad(f"'size' must be 'auto' or WIDTHxHEIGHT in pixels, up to {MAX_EDGE_PX}.", "size")
    if width is not None and (width, height) != pixels:
        raise _bad("'size' and 'width'/'height' contradict each other.", "size")
    return pixels


def _steps(fields: dict[str, Any]) -> int | None:
    given = {name: _whole(fields, name, 1, MAX_STEPS) for name in STEP_NAMES}
    values = {value for value in given.values() if value is not None}
    if len(values) > 1:
        names = ", ".join(f"'{name}'" for name, value in given.items() if value is not None)
        raise _bad(f"{names} contradict each other.", next(name for name in given if given[name] is not None))
    return values.pop() if values else None


def _guidance_passes(fields: dict[str, Any]) -> int | None:
    """Two denoiser passes a step when the client turns true guidance on; `None` leaves it to the model."""
    true_scale = _real(fields, "true_cfg_scale")
    _real(fields, "guidance_scale")
    return 2 if true_scale is not None and true_scale > 1 else None


def _frames(fields: dict[str, Any]) -> int:
    count = _whole(fields, "frame_count", GIF_FRAMES.start, GIF_FRAMES.stop - 1)
    output_format = _text(fields, "output_format", limit=16)
    if output_format == "svg":
        raise _bad("SVG output cannot be priced by this version.", "output_format", "unsupported_value")
    if output_format == "gif":
        return count or DEFAULT_GIF_FRAMES
    return count or 1


def _text(fields: dict[str, Any], name: str, *, required: bool = False, limit: int) -> Any:
    """A string, or `None` when the field is open; never an empty one where a value is required."""
    value = fields.get(name)
    if value is None:
        if required:
            raise _bad(f"'{name}' is required.", name, "missing_required_parameter")
        return None
    if not isinstance(value, str):
        raise _bad(f"'{name}' must be a string.", name, "invalid_type")
    if len(value) > limit:
        raise _bad(f"'{name}' is longer than {limit:,} characters.", name, "string_above_max_length")
    if required and not value.strip():
        raise _bad(f"'{name}' is empty.", name)
    return value


def _whole(fields: dict[str, Any], name: str, low: int, high: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _bad(f"'{name}' must be an integer.", name, "invalid_type")
    if not low <= value <= high:
        raise _bad(f"'{name}' must be between {low} and {high}.", name)
    return value


def _real(fields: dict[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad(f"'{name}' must be a number.", name, "invalid_type")
    return float(value)


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise _bad(f"'{name}' must be true or false.", name, "invalid_type")
    return bool(value)


def _open(value: str | None) -> str | None:
    """`auto` leaves the choice to the server, like no value at all."""
    return None if value == "auto" else value


def _refuse_look_alikes(fields: dict[str, Any]) -> None:
    """A name that some reader takes for a known one must be that one (some upstreams fold case)."""
    for name in fields:
        folded = unicodedata.normalize("NFKC", name).casefold().strip()
        if folded != name and (folded in KNOWN or folded in UNPRICED or folded in ROUTE_TAKING):
            raise _bad(f"A name in the body reads like '{folded}' but is written differently.", folded)


def _refuse_route_taking(value: object) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if unicodedata.normalize("NFKC", name).casefold() in ROUTE_TAKING:
                raise _bad("A request cannot choose where it is sent.", None, "unsupported_parameter")
            _refuse_route_taking(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_route_taking(item)


def _bad(message: str, param: str | None, code: str = "invalid_value") -> InvalidRequest:
    return InvalidRequest(message, code=code, param=param)
