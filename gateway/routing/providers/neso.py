"""NESO's Carbon Intensity API for Great Britain: direct emissions, half-hourly, without a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.routing.providers.source import Call, Point, decoded, get, hourly, instant, number, rows

if TYPE_CHECKING:
    import httpx

    from gateway.routing.providers.source import Question
    from gateway.routing.readings import Kind, Reading


class Neso:
    """`actual` where there is one; the newest half hours have only a `forecast`, which is an estimate."""

    name = "neso"
    kind: Kind = "average-direct"
    base_url = "https://api.carbonintensity.org.uk"

    def area(self, zone: str) -> str | None:
        return zone if zone == "GB" else None

    async def fetch(self, http: httpx.AsyncClient, base_url: str, question: Question) -> list[Reading]:
        start, end = (f"{when:%Y-%m-%dT%H:%MZ}" for when in (question.start(), question.end()))
        return self.read(await get(http, base_url, Call(f"/intensity/{start}/{end}")), question)

    def read(self, body: bytes, question: Question) -> list[Reading]:
        """The readings of an answer."""
        points = []
        for row in rows(decoded(body), "data"):
            values = row.get("intensity")
            at = instant(row.get("from"))
            if at is None or not isinstance(values, dict):
                continue
            actual, forecast = number(values.get("actual")), number(values.get("forecast"))
            value = forecast if actual is None else actual
            if value is not None:
                points.append(Point(at, value, estimated=actual is None))
        return hourly(points, question, kind=self.kind, source=self.name)
