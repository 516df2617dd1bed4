"""The deployments of a simulation with what one image costs there at any hour.

Energy, embodied carbon and on-site water of an image come from the estimator once; carbon and off-site water
then follow the traces. An hour without a value has that of the last hour with one, or of the first.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, Problem
from gateway.footprint.estimate import estimate
from gateway.footprint.quantities import ImageWork, Range
from gateway.images.request import read_size
from gateway.lifecycle.plan import site
from gateway.routing.rank import Candidate, rejection
from gateway.routing.whereabouts import careful_carbon_g, caution, places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.footprint.factors import FactorSet
    from gateway.footprint.quantities import Footprint
    from gateway.routing.signal_file import Trace
    from gateway.upstreams.deployments import Deployment
    from gateway.upstreams.rules import Rules

WH_PER_KWH = 1000.0
ML_PER_L = 1000.0
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Option:
    """One deployment; amounts are central estimates per image. `yearly` is its footprint at yearly factors,
    `g_per_kwh` and `l_per_kwh` are the yearly intensities behind it. `careful_g` is what a
    place that nobody knows is ranked by."""

    deployment: Deployment
    zone: str | None
    yearly: Footprint
    energy_kwh: float
    other_g: float
    onsite_ml: float
    g_per_kwh: float
    l_per_kwh: float
    careful_g: float | None = None

    def carbon_g(self, g_per_kwh: float) -> float:
        return self.other_g + self.energy_kwh * g_per_kwh

    def water_ml(self, l_per_kwh: float) -> float:
        return self.onsite_ml + self.energy_kwh * l_per_kwh * ML_PER_L

    def footprint(self, carbon_g: float, water_ml: float) -> Footprint:
        """The yearly footprint moved to other amounts, its bands in proportion."""
        return replace(
            self.yearly,
            carbon_g=_moved(self.yearly.carbon_g, carbon_g),
            water_ml=_moved(self.yearly.water_ml, water_ml),
        )


@dataclass(slots=True)
class Actual:
    """A trace by zone as it turned out, with gaps carried forward."""

    hours: Mapping[str, Mapping[int, float]]
    _sorted: dict[str, list[int]]

    @classmethod
    def of(cls, hours: Mapping[str, Mapping[int, float]]) -> Actual:
        return cls(hours, {zone: sorted(known) for zone, known in hours.items()})

    def at(self, zone: str | None, hour: int) -> float | None:
        """The value of an hour, or of the one known next to it; None for a zone without a trace."""
        if zone is None or zone not in self.hours:
            return None
        known = self.hours[zone]
        value = known.get(hour)
        if value is not None:
            return value
        hours = self._sorted[zone]
        return known[hours[max(0, bisect_right(hours, hour) - 1)]]


def options_for(
    file: str,
    deployments: Sequence[Deployment],
    model: str,
    trace: Trace,
    *,
    rules: Rules,
    factors: FactorSet,
) -> list[Option]:
    """What each deployment of a model that the rules accept would cost.

    Raises ConfigError for a zone without signals, and when the rules accept no deployment.
    """
    options: list[Option] = []
    problems: list[Problem] = []
    left_out: list[str] = []
    for deployment in deployments:
        yearly = estimate(_one_image(model, deployment), site(deployment), factors)
        zone = yearly.zone
        unsure = caution(deployment, zone)
        refused = rejection(
            Candidate(
                deployment,
                yearly,
                caution=unsure,
                usd=deployment.usd_per_image,
                places=places(deployment, zone, factors),
            ),
            rules,
        )
        if refused is not None:
            left_out.append(f"{deployment.id}: {refused}")
            continue
        if zone is not None and zone not in trace.carbon:
            there = ", ".join(sorted(trace.carbon)[:SHOWN])
            message = f"deployment {deployment.id}: there are no signals for zone {zone}, only for {there}"
            problems.append(Problem(file, 1, 1, message))
        energy_kwh = yearly.energy_wh.central / WH_PER_KWH
        options.append(
            Option(
                deployment=deployment,
                zone=zone,
                yearly=yearly,
                energy_kwh=energy_kwh,
                other_g=yearly.carbon_g.central - yearly.carbon_use_g.central,
                onsite_ml=yearly.water_onsite_ml.central,
                g_per_kwh=yearly.carbon_use_g.central / energy_kwh,
                l_per_kwh=yearly.water_offsite_ml.central / energy_kwh / ML_PER_L,
                careful_g=(
                    careful_carbon_g(deployment, yearly, factors, rules.unknown_region) if unsure else None
                ),
            )
        )
    if not options and not problems:
        message = f"no deployment of {model} may be used: {'; '.join(left_out)}"
        problems.append(Problem(file, 1, 1, message))
    if problems:
        raise ConfigError(problems)
    return options


def _one_image(model: str, deployment: Deployment) -> ImageWork:
    defaults = deployment.defaults
    width, height = (read_size(defaults.size) if defaults.size is not None else None) or (None, None)
    return ImageWork(
        model=deployment.footprint_model(model),
        width=width,
        height=height,
        quality=defaults.quality,
        steps=defaults.steps,
    )


def _moved(band: Range, central: float) -> Range:
    scale = central / band.central
    return Range(band.low * scale, central, band.high * scale)
