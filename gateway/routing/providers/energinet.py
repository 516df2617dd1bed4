"""Energinet's Energi Data Service: the two price areas of Denmark, every 5 minutes, without a key."""

from __future__ import annotations

import json
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
    rows,
)

if TYPE_CHECKING:
    import httpx

    from gateway.routing.providers.source import Question
    from gateway.routing.readings import Kind, Reading

AREAS = {"DK-DK1": "DK1", "DK-DK2": "DK2"}


class Energinet:
    """Dataset `CO2Emis`: direct emissions of consumption."""

    name = "energinet"
    kind: Kind = "average-direct"
    base_url = "https://api.energidataservice.dk"

    def area(self, zone: str) -> str | None:
        return AREAS.get(zone)

    async def fetch(self, http: httpx.AsyncClient, base_url: str, question: Question) -> list[Reading]:
        call = Call(
            "/dataset/CO2Emis",
            {
                "start": f"{question.start():%Y-%m-%dT%H:%M}",
                "timezone": "UTC",
                "filter": json.dumps({"PriceArea": [question.area]}),
                "sort": "Minutes5UTC",
            },
        )
        return self.read(await get(http, base_url, call), question)

    def read(self, body: bytes, question: Question) -> list[Reading]:
        """The readings of an answer. Raises SourceFailed when it is about another area."""
        points = []
        for row in rows(decoded(body), "records"):
            if row.get("PriceArea") != question.area:
                raise SourceFailed("the answer is about another price area")
            at, value = instant(row.get("Minutes5UTC")), number(row.get("CO2Emission"))
            if at is not None and value is not None:
                points.append(Point(at, value))
        return hourly(points, question, kind=self.kind, source=self.name)
