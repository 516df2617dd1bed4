"""What the background work on signals needs to know of the configuration in force.

Turns deployments into options as signals see them. Refuses to know Redis and networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from gateway.footprint.estimate import estimate
from gateway.footprint.quantities import ImageWork
from gateway.images.request import read_size
from gateway.lifecycle.plan import site
from gateway.routing.feed import Watch, wanted
from gateway.routing.ladder import in_the_long_run
from gateway.routing.signal_file import read_signals
from gateway.routing.standing import Option, Standing
from gateway.routing.tables import MonthHourTable
from gateway.routing.whereabouts import careful_carbon_g, caution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.footprint.quantities import Footprint
    from gateway.lifecycle.plan import Configuration
    from gateway.upstreams.deployments import Deployment
    from gateway.upstreams.rules import Rules

WH_PER_KWH = 1000.0


@dataclass(slots=True)
class Watching:
    """The watch of the configuration in force, built again when its deployments have changed."""

    configuration: Callable[[], Configuration]
    _version: str | None = None
    _watch: Watch | None = None

    def __call__(self) -> Watch:
        configuration = self.configuration()
        if self._watch is None or self._version != configuration.deployments.version:
            self._watch = watch(configuration)
            self._version = configuration.deployments.version
        return self._watch


def watch(configuration: Configuration) -> Watch:
    """Which zones to ask about, and how signals bear on each model group."""
    deployed = configuration.deployments
    signals = deployed.signals
    tables: dict[str, MonthHourTable] = {}
    if signals.history is not None:
        for zone, hours in read_signals(signals.history).carbon.items():
            table = MonthHourTable.learnt(zone, hours, signals.history.name)
            if table is not None:
                tables[zone] = table
    standings = {
        model: Standing(_options(configuration, model, deployed.serving(model), tables))
        for model in deployed.models()
    }
    zones = {option.zone for standing in standings.values() for option in standing.options}
    return Watch(
        kind=signals.kind,
        wants=tuple(wanted(signals.sources, sorted(zone for zone in zones if zone is not None))),
        standings=standings,
        tables=tables,
        min_gain=deployed.rules.min_gain,
    )


def _options(
    configuration: Configuration,
    model: str,
    group: Sequence[Deployment],
    tables: Mapping[str, MonthHourTable],
) -> list[Option]:
    """One usual image at each deployment of a group; a place that nobody knows stays at its careful value."""
    factors, rules = configuration.factors, configuration.deployments.rules
    footprints = [_usual(configuration, model, deployment, tables) for deployment in group]
    objective = _objective(rules, group, footprints)
    options = []
    for deployment, footprint, (per_g, beside) in zip(group, footprints, objective, strict=True):
        kwh = footprint.energy_wh.central / WH_PER_KWH
        other = footprint.carbon_g.central - footprint.carbon_use_g.central
        use = footprint.carbon_use_g.central
        unsure = caution(deployment, footprint.zone) is not None
        if unsure:
            use = careful_carbon_g(deployment, footprint, factors, rules.unknown_region) - other
        zone = None if unsure else footprint.zone
        options.append(Option(deployment.id, zone, other, kwh, use / kwh, per_g, beside))
    return options


def _usual(
    configuration: Configuration,
    model: str,
    deployment: Deployment,
    tables: Mapping[str, MonthHourTable],
) -> Footprint:
    """One usual image by the mean of its zone's history or, without one, the yearly factor."""
    size = deployment.defaults.size
    width, height = (read_size(size) if size is not None else None) or (None, None)
    image = ImageWork(
        model=deployment.footprint_model(model),
        width=width,
        height=height,
        quality=deployment.defaults.quality,
        steps=deployment.defaults.steps,
    )
    yearly = estimate(image, site(deployment), configuration.factors)
    mean = in_the_long_run(tables.get(yearly.zone or ""))
    if mean is None or caution(deployment, yearly.zone) is not None:
        return yearly
    return estimate(image, site(deployment, mean), configuration.factors)


def _objective(
    rules: Rules, group: Sequence[Deployment], footprints: Sequence[Footprint]
) -> Iterator[tuple[float, float]]:
    """Per deployment: the objective's weight of a gram, and what it counts beside the grams of the hour.

    The same as in the ranking, but for latency, which differs by request and is left to it.
    """
    carbon = [footprint.carbon_g.central for footprint in footprints]
    water = [footprint.water_ml.central for footprint in footprints]
    prices = [one.usd_per_image for one in group if one.usd_per_image is not None]
    dearest, price = max(prices, default=0.0), fmean(prices) if prices else 0.0
    weights = rules.weights
    for at, deployment in enumerate(group):
        if rules.objective == "carbon":
            yield 1.0, 0.0
        elif rules.objective == "static":
            yield 0.0, carbon[at]
        elif rules.objective == "water":
            yield 0.0, water[at]
        else:
            usd = dearest if deployment.usd_per_image is None else deployment.usd_per_image
            beside = weights.water * water[at] / fmean(water)
            yield weights.carbon / fmean(carbon), beside + (weights.price * usd / price if price else 0.0)
