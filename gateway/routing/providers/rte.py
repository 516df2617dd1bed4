"""RTE éCO2mix by ODRÉ: France, quarter-hourly, without a key; `taux_co2` is direct and of production."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.routing.providers.source import (
    Call,
    Point,
    SourceFailed,
    decoded,
    get,
    hourly,
    instant,
    number,
)

if TYPE_CHECKING:
    import httpx

    from gateway.routing.providers.source import Question
    from gateway.routing.readings import Kind, Reading

ROWS = 100


class Rte:
    """Both generations of the portal's answers are read: `results` and `records[].fields`."""

    name = "rte"
    kind: Kind = "average-direct"
    base_url = "https://odre.opendatasoft.com"

    def area(self, zone: str) -> str | None:
        return zone if zone == "FR" else None

    async def fetch(self, http: httpx.AsyncClient, base_url: str, question: Question) -> list[Reading]:
        call = Call(
            "/api/explore/v2.1/catalog/datasets/eco2mix-national-tr/records",
            {
                "where": "taux_co2 is not null",
                "order_by": "date_heure desc",
                "limit": ROWS,
                "select": "date_heure,taux_co2",
            },
        )
        return self.read(await get(http, base_url, call), question)

    def read(self, body: bytes, question: Question) -> list[Reading]:
        """The readings of an answer."""
        answer = decoded(body)
        listed = answer.get("results", answer.get("records")) if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise SourceFailed("the answer has neither results nor records")
        points = []
        for entry in listed:
            row = entry.get("fields", entry) if isinstance(entry, dict) else None
            if not isinstance(row, dict):
                continue
            at, value = instant(row.get("date_heure")), number(row.get("taux_co2"))
            if at is not None and value is not None:
                points.append(Point(at, value, estimated=True))
        return hourly(points, question, kind=self.kind, source=self.name)
