"""Electricity Maps v4: flow-traced average of consumption, life-cycle; one zone on free plans."""

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
    rows,
)

if TYPE_CHECKING:
    import httpx

    from gateway.routing.providers.source import Question
    from gateway.routing.readings import Kind, Reading


class ElectricityMaps:
    """The last 24 hours of a zone in one call."""

    name = "electricity-maps"
    kind: Kind = "average-lifecycle"
    base_url = "https://api.electricitymaps.com"

    def area(self, zone: str) -> str | None:
        return zone

    async def fetch(self, http: httpx.AsyncClient, base_url: str, question: Question) -> list[Reading]:
        call = Call(
            "/v4/carbon-intensity/history",
            {
                "zone": question.area,
                "emissionFactorType": "lifecycle",
                # Otherwise an unknown zone is answered for where the caller seems to be.
                "disableCallerLookup": "true",
            },
            {"auth-token": question.secret()},
        )
        return self.read(await get(http, base_url, call), question)

    def read(self, body: bytes, question: Question) -> list[Reading]:
        """The readings of an answer. Raises SourceFailed when it is about another zone or another kind."""
        answer = decoded(body)
        history = rows(answer, "history")
        if answer.get("zone") != question.area:
            raise SourceFailed("the answer is about another zone, or does not say which")
        points = []
        for row in [answer, *history]:
            if row.get("zone", question.area) != question.area:
                raise SourceFailed("the answer is about another zone")
            if row.get("emissionFactorType", "lifecycle") != "lifecycle":
                raise SourceFailed("the answer is of another kind")
            at, value = instant(row.get("datetime")), number(row.get("carbonIntensity"))
            if at is not None and value is not None:
                points.append(Point(at, value, estimated=bool(row.get("isEstimated"))))
        return hourly(points, question, kind=self.kind, source=self.name)
