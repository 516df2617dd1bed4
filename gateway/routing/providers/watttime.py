"""WattTime v3: marginal operating emissions, in pounds per MWh; needs a login that lasts 30 minutes."""

from __future__ import annotations

import base64
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

G_PER_KWH_OF_LBS_PER_MWH = 0.45359237
UNITS = "lbs_co2_per_mwh"


class WattTime:
    """The key is `user:password`; regions are WattTime's own and must be given as `area`."""

    name = "watttime"
    kind: Kind = "marginal"
    base_url = "https://api.watttime.org"

    def area(self, zone: str) -> str | None:  # noqa: ARG002
        return None

    async def fetch(self, http: httpx.AsyncClient, base_url: str, question: Question) -> list[Reading]:
        basic = base64.b64encode(question.secret().encode()).decode()
        login = decoded(
            await get(http, base_url, Call("/login", headers={"authorization": f"Basic {basic}"}))
        )
        token = login.get("token") if isinstance(login, dict) else None
        if not isinstance(token, str) or not token:
            raise SourceFailed("the login gave no token")
        call = Call(
            "/v3/historical",
            {
                "region": question.area,
                "signal_type": "co2_moer",
                "start": question.start().isoformat(),
                "end": question.end().isoformat(),
            },
            {"authorization": f"Bearer {token}"},
        )
        return self.read(await get(http, base_url, call), question)

    def read(self, body: bytes, question: Question) -> list[Reading]:
        """The readings of an answer; one with warnings is an estimate.

        Raises SourceFailed for another region, signal or unit.
        """
        answer = decoded(body)
        listed = rows(answer, "data")
        meta = answer.get("meta")
        if not isinstance(meta, dict) or meta.get("units") != UNITS:
            raise SourceFailed(f"the answer is not in {UNITS}")
        if meta.get("region") != question.area or meta.get("signal_type") != "co2_moer":
            raise SourceFailed("the answer is about another region or signal")
        warned = bool(meta.get("warnings"))
        points = [
            Point(
                at,
                value * G_PER_KWH_OF_LBS_PER_MWH,
                estimated=warned or row.get("imputed_data_used") is True,
            )
            for row in listed
            if (at := instant(row.get("point_time"))) is not None
            and (value := number(row.get("value"))) is not None
        ]
        return hourly(points, question, kind=self.kind, source=self.name)
