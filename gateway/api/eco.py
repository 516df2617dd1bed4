"""The eco side: what was used, which requests there were, which budgets there are, and who asks.

Knows query parameters and answers; what a caller may see is decided in `usage.visibility` and
`budgets.matching`. Refuses to know SQL and Redis.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any, cast

import msgspec
from litestar import MediaType, Request, Response, Router, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter

from gateway.api.answers import (
    BASELINES,
    METHOD,
    UNITS,
    RequestAnswer,
    RequestsAnswer,
    SubjectAnswer,
    UsageAnswer,
    period_answer,
    request_answer,
    request_item,
    subject_answer,
    usage_item,
)
from gateway.api.budgets import BudgetItem, BudgetsAnswer, budget_rows, subjects_in_reach
from gateway.api.openapi import SheetOperation, errors
from gateway.api.parts import Part
from gateway.api.sheets import CSV_TYPE, usage_csv
from gateway.budgets.ledger import Ledger
from gateway.errors import InvalidRequest, NotFound
from gateway.identity.registry import KeyRegistry
from gateway.identity.subject import Subject
from gateway.lifecycle.plan import Configuration
from gateway.usage.filters import ATTRIBUTES, checked_filters, checked_groups
from gateway.usage.pages import MAX_PAGE
from gateway.usage.periods import WINDOWS, Window, period, zone_named
from gateway.usage.queries import UsageQueries
from gateway.usage.totals import UsageQuestion

From = Annotated[str | None, QueryParameter(name="from", description="Start, a date or an RFC 3339 time")]
To = Annotated[
    str | None, QueryParameter(name="to", description="End (excluded), a date or an RFC 3339 time")
]
Zone = Annotated[str, QueryParameter(name="tz", description="IANA time zone of buckets and of bare dates")]
Filter = Annotated[str | None, QueryParameter(description="Only requests with this value")]
REPEATABLE = frozenset({"group_by"})


class MeAnswer(msgspec.Struct):
    """The caller, as its key says, with its budgets."""

    subject: SubjectAnswer
    role: str
    budgets: list[BudgetItem]


async def provide_filters(
    *,
    org: Filter = None,
    team: Filter = None,
    user: Filter = None,
    key: Filter = None,
    model: Filter = None,
    deployment: Filter = None,
    zone: Filter = None,
    route: Filter = None,
    decision: Filter = None,
) -> dict[str, str]:
    """The attributes that the requests of an answer must have; all of them are optional."""
    return checked_filters(
        {
            "org": org,
            "team": team,
            "user": user,
            "key": key,
            "model": model,
            "deployment": deployment,
            "zone": zone,
            "route": route,
            "decision": decision,
        }
    )


@get(
    "/usage",
    summary="Show usage",
    operation_class=SheetOperation,
    responses=errors(400, 401, 503),
    dependencies={"filters": Provide(provide_filters)},
)
async def usage_totals(
    request: Request[Any, Any, Any],
    subject: Part[Subject],
    usage: Part[UsageQueries],
    filters: NamedDependency[dict[str, str]],
    *,
    from_: From = None,
    to: To = None,
    window: Annotated[str, QueryParameter(enum=list(WINDOWS), description="Length of the buckets")] = "day",
    group_by: Annotated[
        list[str] | None, QueryParameter(description="Names, repeated or separated by commas")
    ] = None,
    tz: Zone = "UTC",
) -> Response[UsageAnswer]:
    """Energy, water and carbon by time and group; the current month unless told otherwise.

    JSON, or CSV where `Accept` asks for `text/csv` first.
    """
    _refuse_unknown(request, "from", "to", "window", "group_by", "tz")
    asked = period(from_, to, zone_named(tz), window=_window(window), now=datetime.now(UTC))
    names = [name for names in group_by or [] for name in names.split(",") if name]
    question = UsageQuestion(asked, _window(window), checked_groups(names), filters)
    items = [usage_item(row, asked) for row in await usage.usage(subject, question)]
    if request.accept.best_match([MediaType.JSON, "text/csv"]) == "text/csv":
        return cast(
            "Response[UsageAnswer]", Response(usage_csv(items, question.group_by), media_type=CSV_TYPE)
        )
    return Response(
        UsageAnswer(
            data=items,
            period=period_answer(asked),
            window=window,
            group_by=list(question.group_by),
            units=UNITS,
            method=METHOD,
            baselines=BASELINES,
        )
    )


@get(
    "/requests",
    summary="List requests",
    responses=errors(400, 401, 503),
    dependencies={"filters": Provide(provide_filters)},
)
async def requests_page(
    request: Request[Any, Any, Any],
    subject: Part[Subject],
    usage: Part[UsageQueries],
    filters: NamedDependency[dict[str, str]],
    *,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 50,
    cursor: Annotated[str | None, QueryParameter(description="The `next` of the page before")] = None,
    from_: From = None,
    to: To = None,
    tz: Zone = "UTC",
) -> RequestsAnswer:
    """Requests, newest first, refused ones too; all of them unless `from` or `to` is given."""
    _refuse_unknown(request, "limit", "cursor", "from", "to", "tz")
    within, asked = zone_named(tz), None
    if from_ is not None or to is not None:
        asked = period(from_, to, within, window="total", now=datetime.now(UTC))
    page = await usage.page(subject, limit=limit, cursor=cursor, period=asked, filters=filters)
    return RequestsAnswer(data=[request_item(stored) for stored in page.requests], next=page.next)


@get("/requests/{request_id:str}", summary="Show a request", responses=errors(400, 401, 404, 503))
async def request_by_id(
    request_id: FromPath[str], subject: Part[Subject], usage: Part[UsageQueries]
) -> RequestAnswer:
    """One request with its provenance: candidates, attempts, factors, and every journal entry about it."""
    stored = await usage.request(subject, request_id)
    if stored is None:
        raise NotFound("There is no such request.", code="request_not_found", param="id")
    return request_answer(stored)


@get("/budgets", summary="List budgets", responses=errors(401, 503))
async def budgets(
    subject: Part[Subject],
    keys: Part[KeyRegistry],
    ledger: Part[Ledger],
    configuration: Part[Configuration],
) -> BudgetsAnswer:
    """Every budget whose amounts the caller may see, one row per dimension that it limits."""
    reach = await subjects_in_reach(subject, keys)
    return BudgetsAnswer(data=await _rows(subject, reach, ledger, configuration))


@get("/me", summary="Show the caller", responses=errors(401, 503))
async def me(
    subject: Part[Subject],
    ledger: Part[Ledger],
    configuration: Part[Configuration],
) -> MeAnswer:
    """Who the caller is, and the budgets that its own requests count against."""
    rows = await _rows(subject, [subject], ledger, configuration)
    return MeAnswer(subject=subject_answer(subject), role=subject.role.value, budgets=rows)


def eco_router() -> Router:
    """What people and programs read below `/eco/v1`."""
    handlers = [usage_totals, requests_page, request_by_id, budgets, me]
    return Router(path="/eco/v1", route_handlers=handlers, tags=["eco"])


async def _rows(
    caller: Subject, subjects: list[Subject], ledger: Ledger, configuration: Configuration
) -> list[BudgetItem]:
    return await budget_rows(
        configuration.policies,
        subjects,
        caller,
        ledger,
        datetime.now(UTC),
        offered={one.id: one.models for one in configuration.deployments.deployments},
    )


def _window(name: str) -> Window:
    if name not in WINDOWS:
        raise InvalidRequest(f"'window' must be one of {', '.join(WINDOWS)}", param="window")
    return name


def _refuse_unknown(request: Request[Any, Any, Any], *known: str) -> None:
    """Refuse what would be ignored: a mistyped filter must not answer with everybody's numbers."""
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in {*known, *ATTRIBUTES}:
            shown = name[:64]
            raise InvalidRequest(f"Unknown parameter: '{shown}'", code="unknown_parameter", param=shown)
        if count > 1 and name not in REPEATABLE:
            raise InvalidRequest(f"'{name}' is given more than once", code="repeated_parameter", param=name)
