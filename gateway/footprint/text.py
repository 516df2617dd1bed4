"""Energy, water and carbon of text that a model writes, by its output tokens.

Only models with a published figure have one: there is no proxy for a writer, so that a text is never priced
by a number that nobody could defend. A model that draws by tokens writes with the same ones. Refuses to know
pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.footprint.catalogue import DATE, find_model, plain
from gateway.footprint.estimate import footprint_of
from gateway.footprint.hardware import DEFAULT_GPU, find_hardware
from gateway.footprint.method_energy import MethodEnergy, spread_of
from gateway.footprint.places import find_place
from gateway.footprint.quantities import FactorUse

if TYPE_CHECKING:
    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import Footprint, Site, Step, TextWork

MEASURED_INPUT_TOKENS = 1_000
"""The longest input of the measurements behind the factors."""
UNPRICED_TEXT = (
    "unpriced_text: the text model's tokens have no published factor and are not in these figures."
)


@dataclass(frozen=True, slots=True)
class Writer:
    """What one output token of a model takes, and a request without any."""

    per_token: FactorUse
    per_request: FactorUse | None = None


@lru_cache(maxsize=1024)
def find_writer(name: str, factors: FactorSet) -> Writer | None:
    """The factor of a model by any spelling of its exact name; `None` where there is none."""
    last = plain(name).rsplit("/", 1)[-1]
    uses = factors.constant_uses
    for entry in factors.text_models.values():
        names = {plain(known) for known in entry.names}
        if last in names or DATE.sub("", last) in names:
            return Writer(uses[entry.energy], uses[entry.request_energy] if entry.request_energy else None)
    drawing = find_model(name, factors).model
    return Writer(uses[drawing.energy]) if drawing.kind == "tokens" and drawing.energy else None


@lru_cache(maxsize=1024)
def estimate_text(work: TextWork, site: Site, factors: FactorSet) -> Footprint | None:
    """The footprint of a text; `None` where its model has no factor. It has no images."""
    writer = find_writer(work.model, factors)
    if writer is None:
        return None
    hardware = find_hardware(site, factors)
    told = ["Input tokens are not counted apart from the output tokens that they lead to."]
    if not hardware.named:
        told.append(f"Hardware not disclosed: embodied carbon as on {DEFAULT_GPU}.")
    long = work.input_tokens is None or work.input_tokens > MEASURED_INPUT_TOKENS
    tokens = FactorUse(
        "measured.text_tokens" if work.measured else "text.most_tokens",
        work.output_tokens,
        "output tokens",
        "usage of the text model" if work.measured else "the most that the request may have written",
    )
    base_wh = writer.per_request.value if writer.per_request else 0.0
    energy = MethodEnergy(
        method="tokens",
        level="facility",
        wh=base_wh + work.output_tokens * writer.per_token.value / 1000,
        spread=spread_of(["tokens", *(["text_input"] if long else [])], factors),
        formula="E_facility = E_request + output_tokens * e_token / 1000",
        inputs={
            "output_tokens": work.output_tokens, "e_token": writer.per_token.value, "E_request": base_wh,
        },
        gpu=hardware.gpu,
        uses=(tokens, writer.per_token, *((writer.per_request,) if writer.per_request else ())),
        assumptions=tuple(told),
    )  # fmt: skip
    footprint = footprint_of(energy, find_place(site, factors), factors, images=0)

    def trace() -> tuple[Step, ...]:
        return tuple(replace(step, name=f"text_{step.name}") for step in footprint.steps)

    return replace(footprint, trace=trace)
