"""Energy-Charts (Fraunhofer ISE): countries of Europe, quarter-hourly, without a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.routing.providers.source import Call, Point, SourceFailed, decoded, get, hourly, number

if TYPE_CHECKING:
    import httpx

    from gateway.routing.providers.source import Question
    from gateway.routing.readings import Kind, Reading

COUNTRIES = frozenset(
    "AT BE BG CH CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV NL NO PL PT RO RS SE SI SK".split()  # noqa: SIM905
)


class EnergyCharts:
    """Whole countries only: a zone inside one is not answered with the country's value."""

    name = "energy-charts"
    kind: Kind = "average-direct"
    base_url = "https://api.energy-charts.info"

    def area(self, zone: str) -> str | None:
        return zone.lower() if zone in COUNTRIES else None

    async def fetch(self, http: httpx.AsyncClient, base_url: str, question: Question) -> list[Reading]:
        call = Call(
            "/co2eq",
            {
                "country": question.area,
                "start": question.start().date().isoformat(),
                "end": question.end().date().isoformat(),
            },
        )
        return self.read(await get(http, base_url, call), question)

    def read(self, body: bytes, question: Question) -> list[Reading]:
        """The readings of an answer: parallel lists, actual values first and forecasts after them."""
        answer = decoded(body)
        lists = [
            answer.get(name) if isinstance(answer, dict) else None
            for name in ("unix_seconds", "co2eq", "co2eq_forecast")
        ]
        times, actual, forecast = (one if isinstance(one, list) else [] for one in lists)
        if not times or len(times) != len(actual):
            raise SourceFailed("the lists of the answer do not match")
        points = []
        for place, seconds in enumerate(times):
            at, value = number(seconds), number(actual[place])
            estimated = value is None
            if value is None and place < len(forecast):
                value = number(forecast[place])
            if at is not None and value is not None:
                points.append(Point(at, value, estimated=estimated))
        return hourly(points, question, kind=self.kind, source=self.name)
