"""The `routing:` section of deployments.yaml, and the rules that it states.

What the language has and this version does not do is refused by name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.documents import Section, written, wrong
from gateway.upstreams.rules import LONGEST_EJECTION_S, OutlierDetection, Retries, Rules, Weights
from gateway.yaml_tree import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACE = re.compile(r"[a-z]{2}")


def _place(text: str) -> str:
    if not _PLACE.fullmatch(text):
        raise wrong(f"must be eu or a country code such as fr, in lower case (got {shown(text)})")
    return text


def as_tuple(value: object) -> object:
    """A list as the tuple that the models keep; anything else is left to their judgement."""
    return tuple(value) if isinstance(value, list) else value


def each_once(places: tuple[str, ...]) -> tuple[str, ...]:
    """Places that are named once; raises for an empty list and for a repeated name."""
    if not places:
        raise wrong("must not be empty")
    if len(set(places)) < len(places):
        raise wrong("names a place twice")
    return places


class CapsSection(Section):
    """Limits that no gain in carbon or water overrides."""

    usd_per_image: Annotated[float, Field(gt=0, le=10_000)] | None = None
    latency_p95_s: Annotated[float, Field(gt=0, le=3600)] | None = None


class WeightsSection(Section):
    """Shares of the weighted objective."""

    carbon: Annotated[float, Field(ge=0, le=1000)] = 1.0
    water: Annotated[float, Field(ge=0, le=1000)] = 0.0
    price: Annotated[float, Field(ge=0, le=1000)] = 0.0
    latency: Annotated[float, Field(ge=0, le=1000)] = 0.0


class RetriesSection(Section):
    """How often one request may be sent."""

    max_attempts: Annotated[int, Field(ge=1, le=5)] = 2
    ambiguous: Annotated[int, Field(ge=0, le=4)] = 0


class OutlierDetectionSection(Section):
    """When a deployment is left out for a while."""

    consecutive_5xx: Annotated[int, Field(ge=1, le=1000)] = 5
    interval_s: Annotated[float, Field(ge=1, le=3600)] = 10.0
    base_ejection_time_s: Annotated[float, Field(ge=1, le=3600)] = 30.0
    max_ejection_time_s: Annotated[float, Field(ge=1, le=86_400)] | None = None
    max_ejection_percent: Annotated[int, Field(ge=0, le=100)] = 50


class RoutingSection(Section):
    """How one deployment is chosen among interchangeable ones."""

    later: ClassVar[frozenset[str]] = frozenset({"defer"})

    objective: Literal["carbon", "water", "weighted", "static"] = "carbon"
    weights: WeightsSection | None = None
    caps: CapsSection = CapsSection()
    residency: Annotated[
        tuple[Annotated[str, AfterValidator(_place), written(_PLACE)], ...],
        BeforeValidator(as_tuple),
        AfterValidator(each_once),
    ] = ()
    min_gain: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    unknown_region: Literal["pessimistic", "mix", "exclude"] = "pessimistic"
    queue_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    on_short_deadline: Literal["prefer", "refuse"] = "prefer"
    retries: RetriesSection = RetriesSection()
    outlier_detection: OutlierDetectionSection = OutlierDetectionSection()

    def contradictions(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """What only shows when values are compared, each with its place in the section."""
        if self.weights is not None and self.objective != "weighted":
            yield ("weights",), "has no meaning without 'objective: weighted'"
        elif self.weights is not None and not any(dict(self.weights).values()):
            yield ("weights",), "must not all be 0"
        if self.retries.ambiguous >= self.retries.max_attempts:
            yield ("retries", "ambiguous"), "must be less than max_attempts, of which it is a part"
        outliers = self.outlier_detection
        longest = outliers.max_ejection_time_s
        if longest is not None and longest < outliers.base_ejection_time_s:
            yield ("outlier_detection", "max_ejection_time_s"), "must not be less than base_ejection_time_s"

    def rules(self) -> Rules:
        """The rules as routing reads them."""
        outliers = self.outlier_detection
        longest = outliers.max_ejection_time_s or max(LONGEST_EJECTION_S, outliers.base_ejection_time_s)
        return Rules(
            objective=self.objective,
            weights=Weights(**dict(self.weights)) if self.weights is not None else Weights(),
            usd_per_image=self.caps.usd_per_image,
            latency_p95_s=self.caps.latency_p95_s,
            residency=self.residency,
            min_gain=self.min_gain,
            unknown_region=self.unknown_region,
            queue_s=self.queue_s,
            on_short_deadline=self.on_short_deadline,
            retries=Retries(**dict(self.retries)),
            outlier_detection=OutlierDetection(**{**dict(outliers), "max_ejection_time_s": longest}),
        )
