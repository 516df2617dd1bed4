"""ENTSO-E transparency platform: generation per type of European bidding zones, as XML."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from gateway.routing.providers.fuels import intensity
from gateway.routing.providers.source import Call, Point, SourceFailed, get, hourly, instant, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from gateway.routing.providers.source import Question
    from gateway.routing.readings import Kind, Reading

EIC = {
    "AT": "10YAT-APG------L",
    "BE": "10YBE----------2",
    "CH": "10YCH-SWISSGRIDZ",
    "CZ": "10YCZ-CEPS-----N",
    "DE": "10Y1001A1001A82H",
    "DK-DK1": "10YDK-1--------W",
    "DK-DK2": "10YDK-2--------M",
    "ES": "10YES-REE------0",
    "FI": "10YFI-1--------U",
    "FR": "10YFR-RTE------C",
    "IE": "10Y1001A1001A59C",
    "NL": "10YNL----------L",
    "PL": "10YPL-AREA-----S",
    "PT": "10YPT-REN------W",
    "SE-SE1": "10Y1001A1001A44P",
    "SE-SE2": "10Y1001A1001A45N",
    "SE-SE3": "10Y1001A1001A46L",
    "SE-SE4": "10Y1001A1001A47J",
}
FUELS = {
    **dict.fromkeys(("B02", "B05", "B07", "B08"), "coal"),
    **dict.fromkeys(("B03", "B04"), "gas"),
    "B06": "oil",
    "B01": "biomass",
    "B09": "geothermal",
    **dict.fromkeys(("B10", "B11", "B12"), "hydro"),
    "B14": "nuclear",
    "B16": "solar",
    "B17": "waste",
    **dict.fromkeys(("B18", "B19"), "wind"),
}
LONGEST_S = 31 * 24 * 3600
MINUTES = {"PT15M": 15, "PT30M": 30, "PT60M": 60}
DOCTYPE = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


class Entsoe:
    """Production mix times life-cycle factors per fuel; the newest hours are often incomplete."""

    name = "entsoe"
    kind: Kind = "average-lifecycle"
    base_url = "https://web-api.tp.entsoe.eu"

    def area(self, zone: str) -> str | None:
        return EIC.get(zone)

    async def fetch(self, http: httpx.AsyncClient, base_url: str, question: Question) -> list[Reading]:
        call = Call(
            "/api",
            {
                "securityToken": question.secret(),
                "documentType": "A75",
                "processType": "A16",
                "in_Domain": question.area,
                "periodStart": f"{question.start():%Y%m%d%H%M}",
                "periodEnd": f"{question.end():%Y%m%d%H%M}",
            },
        )
        return self.read(await get(http, base_url, call), question)

    def read(self, body: bytes, question: Question) -> list[Reading]:
        """The readings of an answer: hours for which every fuel of the document has a value."""
        hours: dict[float, dict[str, list[float]]] = {}
        seen: set[str] = set()
        for series in _document(body).iterfind("{*}TimeSeries"):
            area = series.findtext("{*}inBiddingZone_Domain.mRID")
            if area is None:
                continue  # consumption, such as pumping
            if area != question.area:
                raise SourceFailed("the answer is about another bidding zone")
            code = series.findtext("{*}MktPSRType/{*}psrType") or ""
            seen.add(code)
            for at, megawatts in _points(series):
                hours.setdefault(at, {}).setdefault(code, []).append(megawatts)
        whole = {at: intensity(_mix(types)) for at, types in sorted(hours.items()) if set(types) == seen}
        points = [Point(at, value, estimated=True) for at, value in whole.items() if value is not None]
        return hourly(points, question, kind=self.kind, source=self.name)


def _document(body: bytes) -> ET.Element:
    if DOCTYPE.search(body):
        raise SourceFailed("the answer declares a document type")
    try:
        root = ET.fromstring(body)  # noqa: S314 - no entities can be declared
    except (ET.ParseError, LookupError, ValueError) as error:
        raise SourceFailed("the answer is no XML") from error
    if not root.tag.endswith("GL_MarketDocument"):
        raise SourceFailed("the answer holds no generation")
    return root


def _mix(types: dict[str, list[float]]) -> dict[str, float]:
    mix: dict[str, float] = {}
    for code, megawatts in types.items():
        fuel = FUELS.get(code, "other")
        mix[fuel] = mix.get(fuel, 0.0) + sum(megawatts) / len(megawatts)
    return mix


def _points(series: ET.Element) -> Iterator[tuple[float, float]]:
    """(start of the hour, MW) of every point; a position left out repeats the one before it."""
    for period in series.iterfind("{*}Period"):
        start, end = (instant(period.findtext(f"{{*}}timeInterval/{{*}}{name}")) for name in ("start", "end"))
        minutes = MINUTES.get(period.findtext("{*}resolution") or "")
        if start is None or end is None or minutes is None:
            raise SourceFailed("a period has no start, end or known resolution")
        if end - start > LONGEST_S:
            raise SourceFailed("a period is longer than what was asked for")
        given: dict[int, float] = {}
        for point in period.iterfind("{*}Point"):
            place, value = number(point.findtext("{*}position")), number(point.findtext("{*}quantity"))
            if place is not None and value is not None:
                given[int(place)] = value
        last: float | None = None
        for place in range(1, int((end - start) // (minutes * 60)) + 1):
            last = given.get(place, last)
            if last is not None:
                at = datetime.fromtimestamp(start + (place - 1) * minutes * 60, UTC)
                yield at.replace(minute=0, second=0).timestamp(), last
