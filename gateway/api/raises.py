"""Raises of budgets: granting, listing and ending them.

Administrators grant them to others: nobody raises a limit that its own requests count against, but for the
platform's administrators. Refuses to know how raises are kept.
"""

import hashlib
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from litestar import Router, delete, get, post
from litestar.di import Provide
from litestar.params import FromPath, JSONBody
from pydantic import ValidationError

from gateway.api.auth import provide_administrator
from gateway.api.openapi import errors
from gateway.api.parts import Part
from gateway.budgets.amounts import Dimension
from gateway.budgets.counter import Counter
from gateway.budgets.ledger import Ledger
from gateway.budgets.limits_section import LimitsSection, limits_of
from gateway.budgets.matching import counter_id
from gateway.budgets.policy import Budget
from gateway.budgets.raises import Parts, Raise, RaiseBook, still_to_give_back
from gateway.budgets.windows import current_and_next
from gateway.errors import InvalidRequest, NotAllowed, NotFound
from gateway.identity.subject import Role, Subject
from gateway.lifecycle.plan import Configuration
from gateway.usage.periods import rfc3339

LARGEST_BODY_BYTES = 16_384
LONGEST = timedelta(days=400)


class NewRaise(msgspec.Struct, forbid_unknown_fields=True):
    """An extra amount for one counter. Amounts have units, as in policies: `{"carbon": "1 kg"}`.

    With `reset` the amounts are what the counter has used and no reset has given back yet. `until` (RFC 3339)
    is the end of the current window where it is left out, and for a reset at the latest.
    """

    policy: str
    reason: str
    scope: dict[str, str] = {}
    amounts: dict[str, str | int] = {}
    reset: bool = False
    until: str | None = None
    org: str | None = None


class RaiseAnswer(msgspec.Struct, kw_only=True):
    """A raise with amounts in `unit`s of people. `ended` is when somebody took it back."""

    id: str
    kind: str
    org: str
    policy: str
    scope: dict[str, str]
    amounts: dict[str, float]
    start: str
    until: str
    author: str
    reason: str
    ended: str | None
    ended_by: str | None


class RaisesAnswer(msgspec.Struct):
    """Raises, newest first, ended ones too."""

    data: list[RaiseAnswer]


@post(
    "/raises",
    summary="Raise a budget",
    responses=errors(400, 401, 403, 404, 413, 503),
    request_max_body_size=LARGEST_BODY_BYTES,
)
async def create_raise(
    data: JSONBody[NewRaise],
    administrator: Part[Subject],
    configuration: Part[Configuration],
    ledger: Part[Ledger],
    raises: Part[RaiseBook],
) -> RaiseAnswer:
    """Add to the limits of one counter until a date. What was used stays used."""
    now = datetime.now(UTC)
    org = administrator.org if data.org is None else data.org
    budget = _budget(configuration, data)
    _refuse_own(administrator, org, data.scope)
    buckets = current_and_next(budget.window, budget.timezone, now)
    if buckets is None:
        raise InvalidRequest("The budget's window is over or has not begun.", param="policy")
    counter = Counter(
        id=counter_id(budget.name, data.scope),
        budget=budget.name,
        scope=data.scope,
        bound=budget.bound,
        limits=budget.limits,
        current=buckets[0],
        next=buckets[1],
        trail=budget.window.trail,
    )
    end_ms = counter.until(buckets[0])
    until_ms = end_ms if data.until is None else _until(data.until, now)
    raise_id = uuid.uuid4().hex
    amounts: dict[str, int]
    leaving: Parts = []
    if data.reset:
        used, leaving = await _used(ledger, org, counter)
        earlier = [one for one in await raises.listing() if (one.org, one.counter) == (org, counter.id)]
        amounts, leaving = still_to_give_back(used, leaving, earlier, int(time.time() * 1000))
        raise_id = _reset_id(org, counter, earlier)
        until_ms = min(until_ms, end_ms)  # what was used counts no longer
    else:
        amounts = _amounts(data, budget)
    granted = Raise(
        id=raise_id,
        org=org,
        policy=budget.name,
        scope=data.scope,
        counter=counter.id,
        amounts=amounts,
        leaving=leaving,
        from_ms=int(time.time() * 1000),
        until_ms=until_ms,
        author=administrator.key,
        reason=_reason(data.reason),
        kind="reset" if data.reset else "raise",
    )
    await raises.grant(granted)
    return raise_answer(granted)


@get("/raises", summary="List raises", responses=errors(401, 403, 503))
async def list_raises(administrator: Part[Subject], raises: Part[RaiseBook]) -> RaisesAnswer:
    """Who raised which budget, by how much, until when and why."""
    return RaisesAnswer(
        data=[raise_answer(one) for one in await raises.listing() if _manages(administrator, one.org)]
    )


@delete(
    "/raises/{raise_id:str}", summary="End a raise", status_code=200, responses=errors(401, 403, 404, 503)
)
async def end_raise(
    raise_id: FromPath[str], administrator: Part[Subject], raises: Part[RaiseBook]
) -> RaiseAnswer:
    """Take a raise back before its end. It stays in the list."""
    known = {one.id: one for one in await raises.listing()}
    granted = known.get(raise_id)
    if granted is None or not _manages(administrator, granted.org):
        raise NotFound("There is no such raise.", code="raise_not_found", param="id")
    ended = await raises.end(raise_id, by=administrator.key, now_ms=int(time.time() * 1000))
    return raise_answer(ended or granted)


def raises_router() -> Router:
    """Raises below `/eco/v1`."""
    return Router(
        path="/eco/v1",
        route_handlers=[create_raise, list_raises, end_raise],
        dependencies={"administrator": Provide(provide_administrator)},
        tags=["admin"],
    )


def raise_answer(one: Raise) -> RaiseAnswer:
    """A raise as people read it."""
    return RaiseAnswer(
        id=one.id,
        kind=one.kind,
        org=one.org,
        policy=one.policy,
        scope=one.scope,
        amounts={Dimension(name).field: Dimension(name).shown(value) for name, value in one.amounts.items()},
        start=rfc3339(one.from_ms),
        until=rfc3339(one.until_ms),
        author=one.author,
        reason=one.reason,
        ended=None if one.ended_ms is None else rfc3339(one.ended_ms),
        ended_by=one.ended_by,
    )


def _budget(configuration: Configuration, data: NewRaise) -> Budget:
    for budget in configuration.policies.budgets:
        if budget.name == data.policy:
            if set(data.scope) != set(budget.per):
                wanted = ", ".join(budget.per) or "nothing: everyone shares it"
                raise InvalidRequest(f"The scope of this budget names {wanted}.", param="scope")
            return budget
    names = ", ".join(budget.name for budget in configuration.policies.budgets)
    raise NotFound(
        f"There is no such budget. There {'are: ' + names if names else 'is none at all'}.",
        code="budget_not_found",
        param="policy",
    )


def _refuse_own(administrator: Subject, org: str, scope: dict[str, str]) -> None:
    """Nobody below the platform raises another org's limit, nor one that its own requests count against."""
    if administrator.role is Role.PLATFORM_ADMIN:
        return
    if org != administrator.org or scope.get("org", org) != org:
        raise NotAllowed("You may raise budgets of your own org only.", param="org")
    mine: dict[str, Any] = {
        "org": administrator.org,
        "team": administrator.team or "",
        "user": administrator.user or "",
        "key": administrator.key,
        **{f"label.{name}": value for name, value in administrator.labels.items()},
    }
    if all(name in {"model", "deployment"} or mine.get(name, "") == value for name, value in scope.items()):
        raise NotAllowed("You may not raise a limit that your own requests count against.", param="scope")


def _amounts(data: NewRaise, budget: Budget) -> dict[str, int]:
    try:
        amounts = limits_of(LimitsSection.model_validate(data.amounts))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"'amounts.{name}': {first['msg']}", param="amounts") from None
    for dimension in amounts:
        if dimension not in budget.limits:
            raise InvalidRequest(f"The budget has no limit of {dimension}.", param="amounts")
    if not any(amounts.values()):
        raise InvalidRequest("A raise needs an amount.", param="amounts")
    return {dimension.value: amount for dimension, amount in amounts.items()}


def _reset_id(org: str, counter: Counter, earlier: list[Raise]) -> str:
    """The same for two resets that know the same earlier ones, so that of two at once one takes effect."""
    known = sorted(one.id for one in earlier)
    return hashlib.blake2b(msgspec.json.encode([org, counter.id, known]), digest_size=16).hexdigest()


async def _used(ledger: Ledger, org: str, counter: Counter) -> tuple[dict[str, int], Parts]:
    """What the window has used, and when which part of it will leave a rolling one (UTC epoch ms)."""
    (balance,) = await ledger.balances(org, [counter])
    width_ms = balance.bucket.end_ms - balance.bucket.start_ms
    leaving = [
        (balance.bucket.start_ms + number * width_ms, {d.value: earlier[d] for d in counter.limits})
        for number, earlier in enumerate(balance.trail, start=1)
    ]
    used = {dimension.value: balance.used[dimension] for dimension in counter.limits}
    return used, [(at_ms, part) for at_ms, part in leaving if any(part.values())]


def _until(text: str, now: datetime) -> int:
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        until = None
    if until is None or until.tzinfo is None or not now < until <= now + LONGEST:
        raise InvalidRequest(
            "'until' must be a time with its offset, later than now and at most 400 days away.", param="until"
        )
    return int(until.timestamp() * 1000)


def _reason(text: str) -> str:
    if not 1 <= len(text.strip()) <= 500:  # noqa: PLR2004
        raise InvalidRequest("'reason' must have 1 to 500 characters.", param="reason")
    return text.strip()


def _manages(administrator: Subject, org: str) -> bool:
    return administrator.role is Role.PLATFORM_ADMIN or administrator.org == org
