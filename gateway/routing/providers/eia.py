"""EIA-930: generation per fuel of balancing authorities in the United States; about a day late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.routing.providers.fuels import intensity
from gateway.routing.providers.source import (
    Call,
    Point,
    SourceFailed,
    decoded,
    get,
    hourly,
    instant,
    number,
    rows,
)

if TYPE_CHECKING:
    import httpx

    from gateway.routing.providers.source import Question
    from gateway.routing.readings import Kind, Reading

FUELS = {
    "COL": "coal",
    "NG": "gas",
    "NUC": "nuclear",
    "OIL": "oil",
    "OTH": "other",
    "SUN": "solar",
    "WAT": "hydro",
    "WND": "wind",
    "GEO": "geothermal",
}
ROWS = 5000
ZONE_PARTS = 3


class Eia:
    """Production mix times life-cycle factors per fuel; imports are not traced."""

    name = "eia"
    kind: Kind = "average-lifecycle"
    base_url = "https://api.eia.gov"

    def area(self, zone: str) -> str | None:
        parts = zone.split("-")
        return parts[2] if len(parts) == ZONE_PARTS and parts[0] == "US" else None

    async def fetch(self, http: httpx.AsyncClient, base_url: str, question: Question) -> list[Reading]:
        call = Call(
            "/v2/electricity/rto/fuel-type-data/data/",
            {
                "api_key": question.secret(),
                "frequency": "hourly",
                "data[]": "value",
                "facets[respondent][]": question.area,
                "start": f"{question.start():%Y-%m-%dT%H}",
                "length": ROWS,
            },
        )
        return self.read(await get(http, base_url, call), question)

    def read(self, body: bytes, question: Question) -> list[Reading]:
        """The readings of an answer, for hours in which every fuel of the answer has a value.

        Values are numbers or text; of a row given twice the last counts.
        Raises SourceFailed for another area.
        """
        hours: dict[float, dict[str, float]] = {}
        seen: set[str] = set()
        for row in rows(decoded(body), "response", "data"):
            if row.get("respondent") != question.area:
                raise SourceFailed("the answer is about another balancing authority")
            at, value = instant(f"{row.get('period')}:00"), number(row.get("value"))
            code = str(row.get("fueltype"))
            seen.add(code)
            if at is not None and value is not None:
                hours.setdefault(at, {})[code] = value
        whole = {at: intensity(_mix(types)) for at, types in hours.items() if set(types) == seen}
        points = [Point(at, value, estimated=True) for at, value in whole.items() if value is not None]
        return hourly(points, question, kind=self.kind, source=self.name)


def _mix(types: dict[str, float]) -> dict[str, float]:
    mix: dict[str, float] = {}
    for code, megawatt_hours in types.items():
        fuel = FUELS.get(code, "other")
        mix[fuel] = mix.get(fuel, 0.0) + megawatt_hours
    return mix
