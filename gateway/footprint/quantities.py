"""The quantities that a footprint is made of, with their units in their names.

Knows shapes and units. Refuses to know models, factors and files: those are in `catalogue`, `factors` and
`estimate`. An unknown value is `None`, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Method = Literal["metered", "gpu_time", "anchor", "flops", "tokens", "proxy"]


@dataclass(frozen=True, slots=True)
class Range:
    """A central estimate with the bounds of its 90 % band, all in the unit of the field it stands in."""

    low: float
    central: float
    high: float

    def as_json(self) -> dict[str, float]:
        return {"low": self.low, "central": self.central, "high": self.high}

    def plus(self, other: Range) -> Range:
        """The sum, with bounds that take both to err in the same direction."""
        return Range(self.low + other.low, self.central + other.central, self.high + other.high)


@dataclass(frozen=True, slots=True)
class FactorUse:
    """A published coefficient that took part in a result."""

    id: str
    value: float
    unit: str
    source: str
    year: int | None = None
    note: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "value": self.value,
            "unit": self.unit,
            "source": self.source,
            "year": self.year,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class ImageWork:
    """The work that one request asks of one model. `None` means that nobody said.

    `guidance_passes` are denoiser forwards per step; `guidance_scale` says whether guidance runs at all.

    `measured_*` are facts about finished work and take precedence over what was asked.
    """

    model: str
    n: int = 1
    width: int | None = None
    height: int | None = None
    quality: str | None = None
    steps: int | None = None
    guidance_passes: int | None = None
    guidance_scale: float | None = None
    strength: float | None = None
    partial_images: int = 0
    frames: int = 1
    input_images: int = 0
    measured_output_tokens: int | None = None
    measured_gpu_seconds: float | None = None
    measured_node_wh: float | None = None


@dataclass(frozen=True, slots=True)
class TextWork:
    """The text that one request has a model write. `None` means that nobody said.

    `measured` says that the counts are those of the finished answer, and not the most that may be written.
    """

    model: str
    output_tokens: int
    input_tokens: int | None = None
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """Where and on what the work runs. `None` means unknown, which widens the result.

    `pue` has no unit; `wue_l_per_kwh` is litres per kWh of IT energy. `num_gpus` is how many GPUs share one
    image. `carbon_intensity_g_per_kwh` is a life-cycle reading of the zone that replaces the yearly value;
    `carbon_intensity_source` says where it comes from. `market_carbon_intensity_g_per_kwh` is what contracts
    make of the electricity; it never changes any other figure.
    """

    provider: str | None = None
    region: str | None = None
    zone: str | None = None
    gpu: str | None = None
    num_gpus: int | None = None
    precision: str | None = None
    batch: int | None = None
    pue: float | None = None
    wue_l_per_kwh: float | None = None
    carbon_intensity_g_per_kwh: float | None = None
    carbon_intensity_source: str | None = None
    market_carbon_intensity_g_per_kwh: float | None = None
    market_carbon_intensity_source: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the chain, for `explain`: what was computed, from which numbers and factors."""

    name: str
    formula: str
    inputs: Mapping[str, float]
    value: Range
    unit: str
    factors: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "formula": self.formula,
            "inputs": dict(self.inputs),
            "value": self.value.as_json(),
            "unit": self.unit,
            "factors": list(self.factors),
        }


METHOD_RANKS: Mapping[Method, str] = {
    "metered": "M0",
    "gpu_time": "M1",
    "anchor": "M2",
    "flops": "M3",
    "tokens": "M4",
    "proxy": "M5",
}
"""The methods in order of trust, by the short names of the methodology."""

BOUNDARY: Mapping[str, Any] = {
    "functional_unit": "all images of one request",
    "included": [
        "electricity of GPUs, hosts, idle share and building",
        "water evaporated on site and at power plants",
        "life-cycle carbon of that electricity, location-based",
        "share of the manufacture of server and GPUs (carbon, ADPe)",
    ],
    "excluded": [
        "training",
        "network and client devices",
        "storage of the images",
        "end of life",
        "water of manufacture (no usable figure is published)",
    ],
}


T = TypeVar("T")


def _sum(one: Range | None, other: Range | None) -> Range | None:
    return one.plus(other) if one is not None and other is not None else None


def _once(one: tuple[T, ...], other: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*one, *other)))


def _no_steps() -> tuple[Step, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Footprint:
    """Energy, water and carbon of a whole request (all its images), as estimates.

    `energy_wh` is facility energy (PUE in); `water_ml` is consumption on site plus off site at the power
    plants; `carbon_g` is location-based use plus embodied, in gCO2e. `carbon_use_market_g` is the same use by
    contracts, a second account that no other figure contains. `water_basis` is `consumption`, `withdrawal` or
    `mixed`. `assumptions` are the values that nobody gave, as sentences; `warnings` say what makes the result
    weaker than usual.
    """

    energy_wh: Range
    water_ml: Range
    carbon_g: Range
    gpu_energy_wh: Range | None
    it_energy_wh: Range
    water_onsite_ml: Range
    water_offsite_ml: Range
    carbon_use_g: Range
    carbon_use_market_g: Range | None
    carbon_embodied_g: Range | None
    adpe_mg_sbeq: Range | None
    images: int
    method: Method
    zone: str | None
    water_basis: str
    carbon_basis: str
    factor_set: str
    factors: tuple[FactorUse, ...]
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    trace: Callable[[], tuple[Step, ...]] = field(default=_no_steps, repr=False, compare=False)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The chain from work to impact, computed when somebody asks."""
        return self.trace()

    @property
    def gpu_energy_wh_per_image(self) -> Range | None:
        """GPU energy of one image: the boundary of published measurements. None behind a node's meter."""
        whole, count = self.gpu_energy_wh, self.images
        if whole is None or not count:
            return None
        return Range(whole.low / count, whole.central / count, whole.high / count)

    def plus(self, other: Footprint) -> Footprint:
        """Both together, as parts of one request at one site. What is unknown of one is unknown of both."""
        return replace(
            self,
            energy_wh=self.energy_wh.plus(other.energy_wh),
            water_ml=self.water_ml.plus(other.water_ml),
            carbon_g=self.carbon_g.plus(other.carbon_g),
            gpu_energy_wh=_sum(self.gpu_energy_wh, other.gpu_energy_wh),
            it_energy_wh=self.it_energy_wh.plus(other.it_energy_wh),
            water_onsite_ml=self.water_onsite_ml.plus(other.water_onsite_ml),
            water_offsite_ml=self.water_offsite_ml.plus(other.water_offsite_ml),
            carbon_use_g=self.carbon_use_g.plus(other.carbon_use_g),
            carbon_use_market_g=_sum(self.carbon_use_market_g, other.carbon_use_market_g),
            carbon_embodied_g=_sum(self.carbon_embodied_g, other.carbon_embodied_g),
            adpe_mg_sbeq=_sum(self.adpe_mg_sbeq, other.adpe_mg_sbeq),
            images=self.images + other.images,
            factors=_once(self.factors, other.factors),
            assumptions=_once(self.assumptions, other.assumptions),
            warnings=_once(self.warnings, other.warnings),
            trace=lambda: (*self.steps, *other.steps),
        )

    def as_json(self, explain: bool = False) -> dict[str, Any]:
        """The published shape. Parts that are not known are absent; `explain` adds steps, whole factors.

        `water_embodied_ml` is always null: nobody publishes litres of manufacture.
        """
        parts = {
            "gpu_energy_wh": self.gpu_energy_wh,
            "it_energy_wh": self.it_energy_wh,
            "water_onsite_ml": self.water_onsite_ml,
            "water_offsite_ml": self.water_offsite_ml,
            "carbon_use_g": self.carbon_use_g,
            "carbon_use_market_g": self.carbon_use_market_g,
            "carbon_embodied_g": self.carbon_embodied_g,
            "adpe_mg_sbeq": self.adpe_mg_sbeq,
        }
        known: dict[str, Any] = {name: part.as_json() for name, part in parts.items() if part is not None}
        shown: dict[str, Any] = {
            "energy_wh": self.energy_wh.as_json(),
            "water_ml": self.water_ml.as_json(),
            "carbon_g": self.carbon_g.as_json(),
            "images": self.images,
            "method": self.method,
            "method_rank": METHOD_RANKS[self.method],
            "parts": {**known, "water_embodied_ml": None},
            "zone": self.zone,
            "water_basis": self.water_basis,
            "carbon_basis": self.carbon_basis,
            "factor_set": self.factor_set,
            "factors": [factor.as_json() if explain else factor.id for factor in self.factors],
            "assumptions": list(self.assumptions),
            "warnings": list(self.warnings),
        }
        if explain:
            shown["boundary"] = dict(BOUNDARY)
            shown["steps"] = [step.as_json() for step in self.steps]
        return shown
