"""The shape of one entry in a factor file, and what makes it valid.

Every entry names its source and year; an entry without them does not load. Refuses to know files and
formulas: those are in `factor_files` and in the modules that compute.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, Strict, model_validator

from gateway.documents import Section, wrong

Listed = Strict(strict=False)
"""YAML knows lists only; the items stay strict."""

Size = Annotated[str, Field(pattern=r"^[1-9]\d{1,4}x[1-9]\d{1,4}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Year = Annotated[int, Field(ge=1990, le=2100)]
SourceId = Annotated[str, Field(min_length=2)]
PRECISIONS = Literal["bf16", "fp32", "quantised"]


class Entry(Section):
    """Base of all entries: immutable, and unknown keys are refused."""

    model_config = ConfigDict(allow_inf_nan=False)


class Source(Entry):
    """A publication or data set, with what its licence lets us do."""

    id: SourceId
    title: str = Field(min_length=10)
    licence: str = Field(min_length=3)


class Sourced(Entry):
    """An entry that carries numbers. `source` is the id of a Source, or plain text in an operator's file."""

    source: SourceId
    year: Year
    note: str | None = None


class Constant(Sourced):
    id: str
    value: Positive
    unit: str = Field(min_length=1)


class SpreadTerm(Sourced):
    """Standard deviation in natural logarithms, upwards and (if it differs) downwards."""

    id: str
    up: Positive
    down: Positive | None = None
    reason: str


class Gpu(Sourced):
    """A GPU family. `pj_per_flop` and `step_j` (J per denoising step) only where measurements were fitted.

    `power_w` is the mean power while generating; embodied values are per card, in kgCO2e and kg Sb eq.
    """

    id: str
    names: Annotated[tuple[str, ...], Listed] = ()
    tdp_w: Positive
    bf16_tflops: Positive
    pj_per_flop: Positive | None = None
    step_j: Positive | None = None
    power_w: Positive | None = None
    embodied_kg: Positive | None = None
    adpe_kg: Positive | None = None
    embodied_source: SourceId | None = None

    @model_validator(mode="after")
    def _whole(self) -> Gpu:
        if (self.pj_per_flop is None) != (self.step_j is None):
            raise wrong("pj_per_flop and step_j stand together")
        embodied = (self.embodied_kg, self.adpe_kg, self.embodied_source)
        if any(value is None for value in embodied) != all(value is None for value in embodied):
            raise wrong("embodied_kg, adpe_kg and embodied_source stand together")
        return self


class CountedFlops(Sourced):
    """TFLOP of one denoiser forward at counted pixel numbers, ascending; `points` is (pixels, TFLOP)."""

    id: str
    parameters_b: Positive
    points: Annotated[tuple[tuple[Positive, Positive], ...], Listed] = Field(min_length=2)


class DerivedArchitecture(Sourced):
    """A network without its own count: `scale` times the FLOP of `like`."""

    id: str
    like: str
    scale: Positive


class Anchor(Sourced):
    """A published measurement: GPU energy (Wh) and GPU seconds of one image under stated conditions."""

    architecture: str
    model: str
    gpu: str
    precision: PRECISIONS
    size: Size
    steps: int = Field(ge=1)
    passes: int = Field(ge=1, le=3)
    batch: int = Field(ge=1)
    gpu_wh: Positive
    gpu_seconds: Positive | None = None


class Tier(Entry):
    """Pictures of up to `pixels` have `tokens`."""

    pixels: int = Field(ge=1)
    tokens: int = Field(ge=1)


class TokenRule(Sourced):
    """How many output tokens one image has; `tokens` knows the four kinds. Qualities and tiers ascend."""

    id: str
    kind: Literal["table", "grid", "flat", "tiers"]
    table: dict[str, dict[Size, int]] = Field(default_factory=dict)
    cells: dict[str, int] = Field(default_factory=dict)
    tokens: int | None = Field(default=None, ge=1)
    pixels: int | None = Field(default=None, ge=1)
    tiers: Annotated[tuple[Tier, ...], Listed] = ()
    largest_size: Size
    partial_image_tokens: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _has_its_kind(self) -> TokenRule:
        given = {
            "table": bool(self.table),
            "grid": bool(self.cells),
            "flat": bool(self.tokens and self.pixels),
            "tiers": bool(self.tiers),
        }
        if [kind for kind, present in given.items() if present] != [self.kind]:
            raise wrong(f"a {self.kind} rule has its own keys and no other kind's")
        rising = [(tier.pixels, tier.tokens) for tier in self.tiers]
        if rising != sorted(rising):
            raise wrong("tiers stand in rising order")
        return self

    @property
    def qualities(self) -> tuple[str, ...]:
        return tuple(self.table or self.cells)


class Model(Sourced):
    """What runs when a request names one of `names`, or a name that fits a pattern.

    `passes` are denoiser forwards per step; a `few_steps` model makes one pass up to eight steps.
    """

    id: str
    kind: Literal["tokens", "diffusion", "proxy"]
    names: Annotated[tuple[str, ...], Listed] = Field(min_length=1)
    patterns: Annotated[tuple[str, ...], Listed] = ()
    architecture: str | None = None
    token_rule: str | None = None
    energy: str | None = None
    size: Size | None = None
    largest_size: Size | None = None
    steps: int | None = Field(default=None, ge=1, le=200)
    passes: int | None = Field(default=None, ge=1, le=3)
    few_steps: bool = False
    inputs_in_sequence: bool = False
    caution: str | None = None

    @model_validator(mode="after")
    def _has_its_kind(self) -> Model:
        needs: dict[str, tuple[object, ...]] = {
            "tokens": (self.token_rule, self.energy),
            "diffusion": (self.architecture, self.largest_size, self.passes),
            "proxy": (self.largest_size,),
        }
        if any(value is None for value in needs[self.kind]):
            sentences = {
                "tokens": "a tokens model needs token_rule and energy",
                "diffusion": "a diffusion model needs architecture, largest_size and passes",
                "proxy": "a proxy model needs largest_size",
            }
            raise wrong(sentences[self.kind])
        return self


class TextModel(Sourced):
    """A model that writes. `energy` names its constant per output token, `request_energy` one per request."""

    id: str
    names: Annotated[tuple[str, ...], Listed] = Field(min_length=1)
    energy: str
    request_energy: str | None = None


class GridZone(Sourced):
    """Carbon intensity (gCO2e/kWh) of a zone and water of its electricity (EWIF, L/kWh).

    `source`, `year` and `basis` are those of the intensity as it was published; `direct` ones (emissions at
    the plants) are made life-cycle when they are used. A value older than three years says why in `stale`.
    """

    zone: str = Field(pattern=r"^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*$")
    iso3: str | None = None
    country: str
    gco2e_per_kwh: Positive
    basis: Literal["life-cycle", "direct"] = "life-cycle"
    ewif_l_per_kwh: Positive | None = None
    ewif_year: Year | None = None
    ewif_source: SourceId | None = None
    stale: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> GridZone:
        water = (self.ewif_l_per_kwh, self.ewif_year, self.ewif_source)
        if any(value is None for value in water) != all(value is None for value in water):
            raise wrong("ewif_l_per_kwh, ewif_year and ewif_source stand together")
        return self


class Region(Entry):
    """A cloud region, or (`*`) a provider's whole fleet. `wue_l_per_kwh` is per IT kWh; 0 is a claim.

    `market_gco2e_per_kwh` is what contracts make of the electricity: an operator's own figure, never bundled.
    """

    provider: str
    region: str
    zone: str | None = None
    pue: float = Field(ge=1, le=3)
    pue_year: Year
    pue_basis: Literal["region", "fleet"]
    pue_source: SourceId
    wue_l_per_kwh: float = Field(ge=0, le=20)
    wue_year: Year
    wue_basis: Literal["region", "fleet"]
    wue_water: Literal["consumption", "withdrawal", "unstated"]
    wue_source: SourceId
    market_gco2e_per_kwh: float | None = Field(default=None, ge=0)
    market_source: SourceId | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Region:
        if (self.market_gco2e_per_kwh is None) != (self.market_source is None):
            raise wrong("market_gco2e_per_kwh and market_source stand together")
        return self


class FactorDocument(Entry):
    """One YAML factor file: any of the sections."""

    released: str | None = None
    sources: Annotated[tuple[Source, ...], Listed] = ()
    constants: Annotated[tuple[Constant, ...], Listed] = ()
    spreads: Annotated[tuple[SpreadTerm, ...], Listed] = ()
    gpus: Annotated[tuple[Gpu, ...], Listed] = ()
    architectures: Annotated[tuple[DerivedArchitecture, ...], Listed] = ()
    anchors: Annotated[tuple[Anchor, ...], Listed] = ()
    token_rules: Annotated[tuple[TokenRule, ...], Listed] = ()
    models: Annotated[tuple[Model, ...], Listed] = ()
    text_models: Annotated[tuple[TextModel, ...], Listed] = ()
    grid: Annotated[tuple[GridZone, ...], Listed] = ()
    regions: Annotated[tuple[Region, ...], Listed] = ()
