"""A self-hosted Carbon Aware SDK of the Green Software Foundation: what it rates is what its source rates."""

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


class CarbonAwareSdk:
    """Ratings are taken as marginal, the SDK's usual source; locations must be given as `area`."""

    name = "carbon-aware-sdk"
    kind: Kind = "marginal"
    base_url = "http://127.0.0.1:8080"

    def area(self, zone: str) -> str | None:  # noqa: ARG002
        return None

    async def fetch(self, http: httpx.AsyncClient, base_url: str, question: Question) -> list[Reading]:
        call = Call(
            "/emissions/bylocation",
            {
                "location": question.area,
                "time": question.start().isoformat(),
                "toTime": question.end().isoformat(),
            },
        )
        return self.read(await get(http, base_url, call), question)

    def read(self, body: bytes, question: Question) -> list[Reading]:
        """The readings of an answer. Raises SourceFailed when it is about another location."""
        answer = decoded(body)
        if not isinstance(answer, list):
            raise SourceFailed("the answer is no list")
        points = []
        for row in answer:
            if not isinstance(row, dict):
                continue
            if row.get("location") != question.area:
                raise SourceFailed("the answer is about another location")
            at, value = instant(row.get("time")), number(row.get("rating"))
            if at is not None and value is not None:
                points.append(Point(at, value))
        return hourly(points, question, kind=self.kind, source=self.name)
