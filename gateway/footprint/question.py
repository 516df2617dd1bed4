"""A question about a footprint in the words people use: one JSON object or one command line.

The same keys and rules for both. `null` and `auto` mean that nobody said; a key nobody knows is a mistake.
Refuses to know terminals, files and HTTP.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gateway.documents import closest, wrong
from gateway.errors import InvalidRequest
from gateway.footprint.quantities import ImageWork, Site

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZE = re.compile(r"\s*([1-9]\d{1,4})\s*[xX*]\s*([1-9]\d{1,4})\s*")
PASSES = (1, 2)


def _said(key: str, value: object) -> bool:
    """Whether a value is one; `null`, nothing and `auto` leave a key open, but `auto` may name a model."""
    if isinstance(value, str) and key != "model":
        return value.strip().lower() not in ("", "auto")
    return value is not None


def _no_truth(value: object) -> object:
    """A truth value is no number here, although Python says so."""
    if isinstance(value, bool):
        raise wrong("must be a number")
    return value


def _size(value: object) -> object:
    if isinstance(value, str) and not SIZE.fullmatch(value):
        raise wrong("must be WIDTHxHEIGHT in pixels")
    return value


Word = Annotated[str, Field(max_length=200)]
Count = Annotated[int, BeforeValidator(_no_truth)]
Amount = Annotated[float, BeforeValidator(_no_truth), Field(allow_inf_nan=False)]


class Question(BaseModel):
    """What images would cost, or did cost where something was measured.

    `cfg` of 1 or 2 is the number of denoiser forwards per step; any other value is a guidance scale, and
    above 1 guidance runs where the network has it. `strength` speaks of an edit: it implies an input image.
    `gpu_seconds`, `node_wh` and `output_tokens` are measured and cover the whole request.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    id: Annotated[str, Field(max_length=200)] | int | None = None
    model: Annotated[str, Field(min_length=1, max_length=300)]
    size: Annotated[Word, BeforeValidator(_size)] | None = None
    quality: Word | None = None
    steps: Annotated[Count, Field(ge=1, le=10_000)] | None = None
    cfg: Annotated[Amount, Field(ge=0, le=100)] | None = None
    strength: Annotated[Amount, Field(ge=0, le=1)] | None = None
    n: Annotated[Count, Field(ge=1, le=100_000)] = 1
    partial_images: Annotated[Count, Field(ge=0, le=100)] = 0
    frames: Annotated[Count, Field(ge=1, le=10_000)] = 1
    input_images: Annotated[Count, Field(ge=0, le=100)] | None = None
    gpu: Word | None = None
    num_gpus: Annotated[Count, Field(ge=1, le=10_000)] | None = None
    precision: Word | None = None
    batch: Annotated[Count, Field(ge=1, le=100_000)] | None = None
    provider: Word | None = None
    region: Word | None = None
    zone: Word | None = None
    pue: Annotated[Amount, Field(ge=1, le=3)] | None = None
    wue_l_per_kwh: Annotated[Amount, Field(ge=0, le=20)] | None = None
    carbon_intensity_g_per_kwh: Annotated[Amount, Field(gt=0, le=5000)] | None = None
    market_carbon_intensity_g_per_kwh: Annotated[Amount, Field(ge=0, le=5000)] | None = None
    gpu_seconds: Annotated[Amount, Field(gt=0)] | None = None
    node_wh: Annotated[Amount, Field(gt=0)] | None = None
    output_tokens: Annotated[Count, Field(ge=1)] | None = None

    def work(self) -> ImageWork:
        """The work that the question is about."""
        size = SIZE.fullmatch(self.size) if self.size else None
        implied = 1 if self.strength is not None else 0
        return ImageWork(
            model=self.model,
            n=self.n,
            width=int(size[1]) if size else None,
            height=int(size[2]) if size else None,
            quality=self.quality,
            steps=self.steps,
            guidance_passes=int(self.cfg) if self.cfg in PASSES else None,
            guidance_scale=None if self.cfg in PASSES else self.cfg,
            strength=self.strength,
            partial_images=self.partial_images,
            frames=self.frames,
            input_images=implied if self.input_images is None else self.input_images,
            measured_output_tokens=self.output_tokens,
            measured_gpu_seconds=self.gpu_seconds,
            measured_node_wh=self.node_wh,
        )

    def site(self) -> Site:
        """Where and on what it runs."""
        return Site(
            provider=self.provider,
            region=self.region,
            zone=self.zone,
            gpu=self.gpu,
            num_gpus=self.num_gpus,
            precision=self.precision,
            batch=self.batch,
            pue=self.pue,
            wue_l_per_kwh=self.wue_l_per_kwh,
            carbon_intensity_g_per_kwh=self.carbon_intensity_g_per_kwh,
            market_carbon_intensity_g_per_kwh=self.market_carbon_intensity_g_per_kwh,
        )


def read_question(fields: Mapping[str, Any]) -> Question:
    """The question in a JSON object. Raises `InvalidRequest` with every mistake by its key."""
    known = {name: value for name, value in fields.items() if _said(name, value)}
    try:
        return Question.model_validate(known)
    except ValidationError as error:
        mistakes = {
            f"{item['loc'][0]}: {_sentence(str(item['loc'][0]), item['type'], item['msg'])}"
            for item in error.errors(include_url=False, include_context=False)
        }
        raise InvalidRequest("; ".join(sorted(mistakes))) from None


def _sentence(key: str, kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"is not a known key{closest(key, list(Question.model_fields))}"
    return "is missing" if kind == "missing" else message
