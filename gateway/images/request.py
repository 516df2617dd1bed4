"""A request for images, read strictly and understood in full.

Knows every spelling of the fields that decide how much work is asked (count, size, steps, quality, frames,
partial images): each is understood and priced, or refused. Unknown fields that cost nothing are kept for
forwarding. Refuses to know deployments, prices and the network. The prompt never leaves `fields`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gateway.images.nested import CARRIERS, unfolded
from gateway.images.shapes import SHAPE_NAMES, read_shape
from gateway.images.strict_json import read_object
from gateway.images.values import STEP_NAMES, flag, left_open, real, refused, text, whole

if TYPE_CHECKING:
    from gateway.images.form import Form

MAX_PROMPT_CHARACTERS = 32_000
MAX_IMAGES = 10
MAX_STEPS = 1_000
MAX_EDGE_PX = 8_192
MAX_PARTIAL_IMAGES = 3
GIF_FRAMES = range(2, 17)
DEFAULT_GIF_FRAMES = 9

KNOWN = frozenset(
    {
        "prompt", "model", "n", "size", "quality", "complexity", "background", "moderation", "output_format",
        "output_compression", "frame_count", "frame_duration_ms", "partial_images", "stream",
        "response_format", "style", "user", "safety_identifier", "width", "height", "seed", "negative_prompt",
        "guidance_scale", "true_cfg_scale", "input_fidelity", *STEP_NAMES,
    }
)  # fmt: skip
OF_SOME = frozenset({*CARRIERS, *SHAPE_NAMES})
"""What only some servers read; the others are not sent it, so that it means nothing there."""
KNOWN_IN_GENERATIONS = KNOWN | OF_SOME
KNOWN_IN_EDITS = KNOWN_IN_GENERATIONS | {"strength", "image", "images", "mask"}
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
"""Fields of other image servers that change the work in ways this version cannot price everywhere."""
UNPRICED_IN_GENERATIONS = UNPRICED - OF_SOME
ROUTE_TAKING = frozenset(
    {
        "api_base", "base_url", "api_key", "api_version", "api_type", "user_config", "organization",
        "webhook", "webhook_url", "callback_url", "custom_llm_provider", "extra_headers", "extra_query",
    }
)  # fmt: skip
"""Names by which other gateways let a body choose where to connect or with which credential."""
SIZE = re.compile(r"([1-9][0-9]{1,4})[xX*]([1-9][0-9]{1,4})")

Route = Literal["images.generate", "images.edit", "images.variation", "responses", "chat"]


@dataclass(frozen=True, slots=True)
class Text:
    """Text that a request has written beside its images, or in their place, in so many `choices`.

    `most_tokens` bounds each of them. `bound_to` is the parameter that refers to what one provider keeps,
    where there is one.
    """

    most_tokens: int | None = None
    bound_to: str | None = None
    choices: int = 1


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What one client asks for. `None` means that the client left it open or said `auto`.

    `fields` is the body as it was written; it holds the prompt and is never logged, traced or stored. `form`
    is set when the body was a multipart form; then `fields` are its text fields, numbers as numbers.

    `n` images may be made `calls` times; a request with `text` may ask for none at all. `image_model` draws
    where that is not `model`. `tool` is the place among `tools` of the one that says what is drawn, if it is
    one; `known` are the names that this version knows.
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
    input_images: int = 0
    strength: float | None = None
    form: Form | None = field(default=None, repr=False)
    calls: int | None = 1
    image_model: str | None = None
    text: Text | None = None
    tool: int | None = None
    known: frozenset[str] = field(default=KNOWN, repr=False)

    @property
    def draws(self) -> bool:
        """Whether an image can come of it."""
        return self.n > 0

    def most_images(self, per_answer: int) -> int:
        """The most images that the body can cause; `per_answer` is for one that does not bound them."""
        return self.n * (per_answer if self.calls is None else self.calls)

    @property
    def size(self) -> str | None:
        """The size as `WxH`, where the client gave one."""
        return f"{self.width}x{self.height}" if self.width and self.height else None

    def unknown_fields(self) -> list[str]:
        """The names in the body that this version does not know, in the order they were written."""
        return [name for name in self.fields if name not in self.known]

    def close(self) -> None:
        """Lets go of uploaded files."""
        if self.form is not None:
            self.form.close()


def read_generation(body: bytes, *, model: str | None = None) -> ImageRequest:
    """The body of `POST /v1/images/generations` as a request.

    `model` takes the place of the body's own, where the path names it. Raises `InvalidRequest` (400) for
    anything malformed, out of range, ambiguous or impossible to price.
    """
    return understood(named(read_object(body), model), "images.generate", UNPRICED_IN_GENERATIONS)


def named(fields: dict[str, Any], model: str | None) -> dict[str, Any]:
    """Fields with the model that the path names, if it does."""
    return fields if model is None else {**fields, "model": model}


def understood(
    fields: dict[str, Any],
    route: Route,
    unpriced: frozenset[str],
    *,
    input_images: int = 0,
    form: Form | None = None,
) -> ImageRequest:
    """Fields of any route as a request; names in `unpriced` are refused. Raises `InvalidRequest`."""
    refuse_look_alikes(fields, KNOWN | UNPRICED | ROUTE_TAKING)
    refuse_route_taking(fields)
    refuse_unpriced(fields, unpriced)
    text(fields, "prompt", required=route != "images.variation", limit=MAX_PROMPT_CHARACTERS)
    meant = unfolded(fields)
    strength = None if "strength" in unpriced else real(fields, "strength")
    if strength is not None and not 0 <= strength <= 1:
        raise refused("'strength' must be between 0 and 1.", "strength")
    width, height = _size(fields)
    return ImageRequest(
        route=route,
        model=text(fields, "model", required=True, limit=256),
        n=whole(fields, "n", 1, MAX_IMAGES) or 1,
        width=width,
        height=height,
        quality=left_open(text(fields, "quality", limit=32)),
        steps=steps_of(meant),
        guidance_passes=_guidance_passes(meant),
        frames=_frames(fields),
        partial_images=whole(fields, "partial_images", 0, MAX_PARTIAL_IMAGES) or 0,
        stream=flag(fields, "stream"),
        fields=fields,
        input_images=input_images,
        strength=strength,
        form=form,
        known=KNOWN_IN_GENERATIONS if route == "images.generate" else KNOWN_IN_EDITS,
    )


def read_size(text: str) -> tuple[int, int] | None:
    """`WxH` (or `W*H`) in pixels as two numbers, or `None` when `text` is not a size."""
    match = SIZE.fullmatch(text)
    if match is None:
        return None
    width, height = int(match[1]), int(match[2])
    return (width, height) if max(width, height) <= MAX_EDGE_PX else None


def _size(fields: dict[str, Any]) -> tuple[int | None, int | None]:
    asked = left_open(text(fields, "size", limit=32))
    width = whole(fields, "width", 16, MAX_EDGE_PX)
    height = whole(fields, "height", 16, MAX_EDGE_PX)
    if (width is None) != (height is None):
        raise refused("'width' and 'height' go together.", "width" if width is None else "height")
    shape = read_shape(fields)
    if shape is not None and (asked is not None or width is not None):
        raise refused("'size' and 'aspect_ratio' with 'resolution' exclude each other.", "size")
    if asked is None:
        return shape or (width, height)
    pixels = read_size(asked)
    if pixels is None:
        raise refused(f"'size' must be 'auto' or WIDTHxHEIGHT in pixels, up to {MAX_EDGE_PX}.", "size")
    if width is not None and (width, height) != pixels:
        raise refused("'size' and 'width'/'height' contradict each other.", "size")
    return pixels


def steps_of(fields: dict[str, Any]) -> int | None:
    """The steps by any of their names. Raises `InvalidRequest` where two names contradict each other."""
    given = {name: whole(fields, name, 1, MAX_STEPS) for name in STEP_NAMES}
    values = {value for value in given.values() if value is not None}
    if len(values) > 1:
        names = ", ".join(f"'{name}'" for name, value in given.items() if value is not None)
        raise refused(
            f"{names} contradict each other.", next(name for name in given if given[name] is not None)
        )
    return values.pop() if values else None


def _guidance_passes(fields: dict[str, Any]) -> int | None:
    """Two denoiser passes a step when the client turns true guidance on; `None` leaves it to the model."""
    true_scale = real(fields, "true_cfg_scale")
    real(fields, "guidance_scale")
    return 2 if true_scale is not None and true_scale > 1 else None


def _frames(fields: dict[str, Any]) -> int:
    count = whole(fields, "frame_count", GIF_FRAMES.start, GIF_FRAMES.stop - 1)
    output_format = text(fields, "output_format", limit=16)
    if output_format == "svg":
        raise refused("SVG output cannot be priced by this version.", "output_format", "unsupported_value")
    if output_format == "gif":
        return count or DEFAULT_GIF_FRAMES
    return count or 1


def refuse_look_alikes(fields: dict[str, Any], names: frozenset[str]) -> None:
    """A name that some reader takes for a known one must be that one (some upstreams fold case)."""
    for name in fields:
        folded = unicodedata.normalize("NFKC", name).casefold().strip()
        if folded != name and folded in names:
            raise refused(f"A name in the body reads like '{folded}' but is written differently.", folded)


def refuse_unpriced(fields: dict[str, Any], unpriced: frozenset[str]) -> None:
    """Raises `InvalidRequest` for what changes the amount of work unseen."""
    for name, value in fields.items():
        if name.partition("[")[0] in unpriced and value is not None:
            raise refused(
                f"'{name}' changes how much work is asked in a way that this version cannot price.",
                name,
                "unsupported_parameter",
            )


def refuse_route_taking(value: object) -> None:
    """Raises `InvalidRequest` for a name by which a body would choose where it is sent, at any depth."""
    if isinstance(value, dict):
        for name, item in value.items():
            if unicodedata.normalize("NFKC", name).casefold() in ROUTE_TAKING:
                raise refused("A request cannot choose where it is sent.", None, "unsupported_parameter")
            refuse_route_taking(item)
    elif isinstance(value, list):
        for item in value:
            refuse_route_taking(item)
