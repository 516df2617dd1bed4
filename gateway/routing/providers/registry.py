"""Every provider by its name: adding one is its file and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.routing.providers.carbon_aware_sdk import CarbonAwareSdk
from gateway.routing.providers.eia import Eia
from gateway.routing.providers.electricity_maps import ElectricityMaps
from gateway.routing.providers.energinet import Energinet
from gateway.routing.providers.energy_charts import EnergyCharts
from gateway.routing.providers.entsoe import Entsoe
from gateway.routing.providers.neso import Neso
from gateway.routing.providers.rte import Rte
from gateway.routing.providers.watttime import WattTime

if TYPE_CHECKING:
    from gateway.routing.providers.source import Provider

PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        CarbonAwareSdk(),
        Eia(),
        ElectricityMaps(),
        Energinet(),
        EnergyCharts(),
        Entsoe(),
        Neso(),
        Rte(),
        WattTime(),
    )
}
