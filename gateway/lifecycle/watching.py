"""What the background work on signals needs to know of the configuration in force.

Turns deployments into options as signals see them. Refuses to know Redis and networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.footprint.estimate import estimate
from gateway.footprint.quantities import ImageWork
from gateway.images.request import read_size
from gateway.lifecycle.plan import site
from gateway.routing.feed import Watch, wanted
from gateway.routing.grid import Option, Standing
from gateway.routing.signal_file import read_signals
from gateway.routing.tables import MonthHourTable
from gateway.routing.whereabouts import careful_carbon_g, caution

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.lifecycle.plan import Configuration
    from gateway.upstreams.deployments import Deployment

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
    standings = {
        model: Standing([_option(configuration, model, one) for one in deployed.serving(model)])
        for model in deployed.models()
    }
    zones = {option.zone for standing in standings.values() for option in standing.options}
    signals = deployed.signals
    tables = {}
    if signals.history is not None:
        for zone, hours in read_signals(signals.history).carbon.items():
            table = MonthHourTable.learnt(zone, hours, signals.history.name)
            if table is not None:
                tables[zone] = table
    return Watch(
        kind=signals.kind,
        wants=tuple(wanted(signals.sources, sorted(zone for zone in zones if zone is not None))),
        standings=standings,
        tables=tables,
        min_gain=deployed.rules.min_gain,
    )


def _option(configuration: Configuration, model: str, deployment: Deployment) -> Option:
    """One usual image at a deployment; a place that nobody knows stays at its careful value."""
    factors = configuration.factors
    size = deployment.defaults.size
    width, height = (read_size(size) if size is not None else None) or (None, None)
    image = ImageWork(
        model=deployment.footprint_model(model),
        width=width,
        height=height,
        quality=deployment.defaults.quality,
        steps=deployment.defaults.steps,
    )
    footprint = estimate(image, site(deployment), factors)
    kwh = footprint.energy_wh.central / WH_PER_KWH
    other = footprint.carbon_g.central - footprint.carbon_use_g.central
    use = footprint.carbon_use_g.central
    unsure = caution(deployment, footprint.zone) is not None
    if unsure:
        rules = configuration.deployments.rules
        use = careful_carbon_g(deployment, footprint, factors, rules.unknown_region) - other
    return Option(deployment.id, None if unsure else footprint.zone, other, kwh, use / kwh)
