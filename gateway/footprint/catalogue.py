"""Finds what a request means: which model runs, at which size, quality and steps.

A value that nobody gave becomes the model's known server default, else the largest legal value, and is
told as a sentence. Invariant: every name leads to a model, unknown names to the conservative proxy.
Refuses to know energy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.footprint.entries import Model
from gateway.footprint.tokens import largest_quality, parse_size

if TYPE_CHECKING:
    from gateway.footprint.entries import TokenRule
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import ImageWork

QUALITY_ALIASES = {"standard": "medium", "hd": "high"}
FEW_STEPS = 8
STEPS_UNKNOWN = 50  # the largest default of any catalogued pipeline's, for networks without their own
DATE = re.compile(r"-(20\d{2}-\d{2}-\d{2}|20\d{6}|\d{2}-\d{4})$")
UNKNOWN = Model(
    id="unknown", kind="proxy", names=("unknown",), largest_size="2048x2048", source="PROXY", year=2025
)


@dataclass(frozen=True, slots=True)
class Found:
    """The catalogue's answer for a name; `guessed` when only a part of it was recognised."""

    model: Model
    guessed: bool = False

    @property
    def unknown(self) -> bool:
        return self.model is UNKNOWN


@dataclass(frozen=True, slots=True)
class Resolved:
    """One image's work with nothing left open. `steps` and `passes` are 0 for models that have none."""

    found: Found
    width: int
    height: int
    quality: str | None
    steps: int
    passes: int
    steps_assumed: bool
    assumptions: tuple[str, ...]

    @property
    def pixels(self) -> int:
        return self.width * self.height


@lru_cache(maxsize=4096)
def find_model(name: str, factors: FactorSet) -> Found:
    """The model behind any spelling: Hugging Face id, owner/name, dated or short."""
    written = plain(name)
    names = _names(factors)
    for spelling in (written, written.rsplit("/", 1)[-1], DATE.sub("", written.rsplit("/", 1)[-1])):
        if spelling in names:
            return Found(names[spelling])
    last = written.rsplit("/", 1)[-1]
    for pattern, model in _patterns(factors):
        if pattern.match(last):
            return Found(model, guessed=True)
    return Found(UNKNOWN)


def resolve(work: ImageWork, factors: FactorSet) -> Resolved:
    """Fill what the request left open; the result costs at least what the server's defaults cost."""
    found = find_model(work.model, factors)
    model = found.model
    rule = factors.token_rules[model.token_rule] if model.token_rule else None
    told: list[str] = []
    width, height = _size(work, model, rule, told)
    quality = _quality(work.quality, rule, told)
    steps = _steps(work, model, told) if model.kind == "diffusion" else work.steps or 0
    passes = _passes(work, model, steps)
    assumed = model.kind == "diffusion" and not _given(work.steps)
    return Resolved(found, width, height, quality, steps, passes, assumed, tuple(told))


def _given(steps: int | None) -> bool:
    return steps is not None and steps >= 1


def _size(work: ImageWork, model: Model, rule: TokenRule | None, told: list[str]) -> tuple[int, int]:
    if work.width and work.height:
        return work.width, work.height
    if model.size:
        told.append(f"Size not given: {model.size}, the server's default for {model.id}.")
        return parse_size(model.size)
    largest = model.largest_size or (rule.largest_size if rule else None) or "2048x2048"
    told.append(f"Size not given: {largest}, the largest legal size for {model.id}.")
    return parse_size(largest)


def _quality(asked: str | None, rule: TokenRule | None, told: list[str]) -> str | None:
    if rule is None or not rule.qualities:
        return None
    quality = (asked or "auto").lower()
    quality = quality if quality in rule.qualities else QUALITY_ALIASES.get(quality, quality)
    if quality in rule.qualities:
        return quality
    largest = largest_quality(rule)
    told.append(f"Quality {'not given' if asked is None else asked!r}: {largest}, the largest legal quality.")
    return largest


def _steps(work: ImageWork, model: Model, told: list[str]) -> int:
    steps = work.steps
    if steps is None or not _given(steps):
        steps = model.steps or STEPS_UNKNOWN
        told.append(f"Steps not given: {steps}, the server's default for {model.id}.")
    if work.strength is not None and work.input_images:
        return max(1, round(min(1.0, max(0.0, work.strength)) * steps))
    return steps


def _passes(work: ImageWork, model: Model, steps: int) -> int:
    """Denoiser forwards per step: a few-step checkpoint run for longer executes guidance again.

    A guidance scale above 1 means that guidance runs where the network has it; one of 1 or less, that it
    does not.
    """
    if work.guidance_passes is not None and work.guidance_passes > 0:
        return work.guidance_passes
    if work.guidance_scale is not None:
        return model.passes or 0 if work.guidance_scale > 1 else 1
    return 1 if runs_few_steps(model, steps) else model.passes or 0


def runs_few_steps(model: Model, steps: int) -> bool:
    """Whether a few-step checkpoint runs as intended: up to eight steps, or its own default if more."""
    return model.few_steps and steps <= max(FEW_STEPS, model.steps or 0)


def plain(name: str) -> str:
    """A name without the differences that people make in writing it."""
    return re.sub(r"[\s_]+", "-", name.strip().lower())


@lru_cache(maxsize=8)
def _names(factors: FactorSet) -> dict[str, Model]:
    """Exact names; where two models claim one, the first model in order wins."""
    return {plain(name): model for model in reversed(list(factors.models.values())) for name in model.names}


@lru_cache(maxsize=8)
def _patterns(factors: FactorSet) -> tuple[tuple[re.Pattern[str], Model], ...]:
    return tuple(
        (re.compile(translate(pattern)), model)
        for model in factors.models.values()
        for pattern in model.patterns
    )
