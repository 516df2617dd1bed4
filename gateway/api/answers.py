"""The shapes of answers that the gateway itself makes.

Invariant: a value that is not known is left out, never 0 and never made up. Units are in the names of fields.
"""

from typing import Any, Literal

import msgspec

from gateway.identity.subject import Subject
from gateway.usage.entries import Amounts
from gateway.usage.pages import StoredEntry, StoredRequest
from gateway.usage.periods import Period, rfc3339
from gateway.usage.totals import Avoided, Sum, UsageRow

UWH_PER_WH = 1_000_000
UL_PER_ML = 1_000
UG_PER_G = 1_000_000
UUSD_PER_USD = 1_000_000

UNITS = {
    "energy_wh": "Wh of facility energy (PUE included)",
    "water_ml": "mL consumed, on site and at power plants",
    "carbon_g": "g CO2e, location-based use and embodied",
    "images": "images",
    "cost_usd": "USD that operators pay, by declared prices or by what answers state",
    "avoided_carbon_g": "g CO2e less than an even spread over the usable deployments; negative where more",
}
BASELINES = {
    "even_spread": "the mean over the deployments that could have been used, at the readings of the moment",
    "best_fixed": "the deployment that is lowest in the long run, at the readings of the moment",
}
METHOD = (
    "Sums of what the ledger charged for each request: central estimates, with 90 % bands added up as _range."
)


class ModelAnswer(msgspec.Struct):
    """A model as OpenAI's API shows it. `created` is when the gateway read it, in seconds since 1970."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "ecogate"


class ModelsAnswer(msgspec.Struct):
    """The models that may be asked for."""

    data: list[ModelAnswer]
    object: Literal["list"] = "list"


class SubjectAnswer(msgspec.Struct, omit_defaults=True):
    """Whose request it was. `key` is a public id."""

    org: str
    key: str
    team: str | None = None
    user: str | None = None
    labels: dict[str, str] = {}


class RangeAnswer(msgspec.Struct, omit_defaults=True):
    """The bounds around a central value; `low` is left out where it is not known."""

    high: float
    low: float | None = None


class AvoidedAnswer(msgspec.Struct):
    """Carbon avoided against a baseline, over the `known_requests` whose records tell; null where none does.

    Negative where the choice made caused more. A comparison, no claim about power plants.
    """

    carbon_g: float | None
    known_requests: int


class WasteAnswer(msgspec.Struct):
    """What attempts that may have run for nothing took, central estimates; no budget was charged for it."""

    energy_wh: float
    water_ml: float
    carbon_g: float


class UsageItem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The usage of one group from `start` to `end`. `basis` is left out where nothing was charged.

    `avoided_carbon_g` is against an even spread; `avoided` has every baseline by name.
    `cost_usd` is null where the cost of one of the requests is not known; `unpriced_requests` counts those.
    `retries` are requests that a client sent again by its own count, without an idempotency key.
    """

    start: str
    end: str
    group: dict[str, str | None]
    requests: int
    refused: int
    retries: int
    images: int
    energy_wh: float
    energy_wh_range: RangeAnswer
    water_ml: float
    water_ml_range: RangeAnswer
    carbon_g: float
    carbon_g_range: RangeAnswer
    cost_usd: float | None
    unpriced_requests: int
    avoided_carbon_g: float | None
    avoided: dict[str, AvoidedAnswer]
    waste: WasteAnswer
    basis: Literal["settled", "estimate", "mixed"] | None = None


class PeriodAnswer(msgspec.Struct):
    """The period that an answer covers, `start` included and `end` excluded."""

    start: str
    end: str
    timezone: str


class UsageAnswer(msgspec.Struct):
    """Usage by time and group. Buckets without requests are left out."""

    data: list[UsageItem]
    period: PeriodAnswer
    window: str
    group_by: list[str]
    units: dict[str, str]
    method: str
    baselines: dict[str, str]


class ChargeAnswer(msgspec.Struct):
    """What budgets were charged. `cost_usd` is null where nobody knows it."""

    energy_wh: float
    water_ml: float
    carbon_g: float
    images: int
    cost_usd: float | None


class EntryAnswer(msgspec.Struct):
    """One entry of the journal about a request: what it added to budgets, by the bound that they count."""

    kind: str
    time: str
    central: ChargeAnswer
    high: ChargeAnswer


class RequestItem(msgspec.Struct, kw_only=True):
    """One request. `images` were charged; `footprint` is the newest estimate of the whole request."""

    id: str
    time: str
    subject: SubjectAnswer
    model: str
    upstream_model: str | None = None
    deployment: str | None = None
    zone: str | None = None
    route: str
    decision: str
    because: list[str] = []
    outcome: str
    status: int | None = None
    images: int
    images_requested: int
    size: str | None = None
    quality: str | None = None
    footprint: dict[str, Any] = {}
    basis: str
    charge: ChargeAnswer
    sources: list[Any]
    warnings: list[str] = []
    duration_ms: float | None = None
    policies: list[dict[str, Any]] = []


class RequestAnswer(RequestItem, kw_only=True):
    """One request with everything that led to it and everything that was journaled about it."""

    updated: str
    candidates: list[dict[str, Any]] = []
    routing: dict[str, Any] = {}
    attempts: list[Any] = []
    served: dict[str, str | None] | None = None
    usage: dict[str, Any] | None = None
    usage_basis: str | None = None
    trace_id: str | None = None
    retry_count: int | None = None
    retry_of: str | None = None
    policy_version: str | None = None
    downgrade: dict[str, dict[str, Any]] | None = None
    reroute: dict[str, Any] | None = None
    entries: list[EntryAnswer] = []


class RequestsAnswer(msgspec.Struct):
    """A page of requests, newest first; `next` is the `cursor` of the page after, null on the last."""

    data: list[RequestItem]
    next: str | None


def subject_answer(subject: Subject) -> SubjectAnswer:
    return SubjectAnswer(
        org=subject.org, key=subject.key, team=subject.team, user=subject.user, labels=subject.labels
    )


def usage_item(row: UsageRow, period: Period) -> UsageItem:
    """A row of usage with local times."""
    avoided = {"even_spread": _avoided(row, row.avoided_even), "best_fixed": _avoided(row, row.avoided_fixed)}
    return UsageItem(
        start=rfc3339(row.start_ms, period.zone),
        end=rfc3339(row.end_ms, period.zone),
        group=row.group,
        requests=row.requests,
        refused=row.refused,
        retries=row.retries,
        images=row.images,
        energy_wh=row.energy_uwh.central / UWH_PER_WH,
        energy_wh_range=_range(row.energy_uwh, UWH_PER_WH),
        water_ml=row.water_ul.central / UL_PER_ML,
        water_ml_range=_range(row.water_ul, UL_PER_ML),
        carbon_g=row.carbon_ug.central / UG_PER_G,
        carbon_g_range=_range(row.carbon_ug, UG_PER_G),
        cost_usd=None if row.cost_uusd is None else row.cost_uusd / UUSD_PER_USD,
        unpriced_requests=row.unpriced,
        avoided_carbon_g=avoided["even_spread"].carbon_g,
        avoided=avoided,
        waste=WasteAnswer(
            energy_wh=row.waste_energy_uwh / UWH_PER_WH,
            water_ml=row.waste_water_ul / UL_PER_ML,
            carbon_g=row.waste_carbon_ug / UG_PER_G,
        ),
        basis=_basis(row),
    )


def period_answer(period: Period) -> PeriodAnswer:
    return PeriodAnswer(
        start=rfc3339(period.start_ms, period.zone),
        end=rfc3339(period.end_ms, period.zone),
        timezone=period.zone.key,
    )


def request_item(stored: StoredRequest) -> RequestItem:
    """A request as it stands in a list."""
    return RequestItem(**_request_fields(stored))


def request_answer(stored: StoredRequest) -> RequestAnswer:
    """A request with its provenance."""
    record = stored.record
    return RequestAnswer(
        **_request_fields(stored),
        updated=rfc3339(stored.updated_at_ms),
        candidates=record.candidates,
        routing=record.routing,
        attempts=list(record.attempts),
        served=record.served,
        usage=record.usage,
        usage_basis=record.usage_basis,
        trace_id=record.trace_id,
        retry_count=record.retry_count,
        retry_of=record.retry_of,
        policy_version=record.policy_version,
        downgrade=record.downgrade,
        reroute=record.reroute,
        entries=[_entry(entry) for entry in stored.entries],
    )


def _request_fields(stored: StoredRequest) -> dict[str, Any]:
    record = stored.record
    return {
        "id": stored.id,
        "time": rfc3339(stored.at_ms),
        "subject": SubjectAnswer(
            org=stored.org, key=record.key, team=record.team, user=record.user, labels=record.labels
        ),
        "model": record.model,
        "upstream_model": record.upstream_model,
        "deployment": record.deployment,
        "zone": record.zone,
        "route": record.route,
        "decision": record.decision,
        "because": record.because,
        "outcome": record.outcome,
        "status": record.status,
        "images": stored.charge.images,
        "images_requested": record.images_requested,
        "size": record.size,
        "quality": record.quality,
        "footprint": record.footprint,
        "basis": record.basis,
        "charge": _charge(stored.charge),
        "sources": list(record.footprint.get("factors", [])),
        "warnings": record.warnings,
        "duration_ms": record.duration_ms,
        "policies": record.policies,
    }


def _entry(entry: StoredEntry) -> EntryAnswer:
    return EntryAnswer(
        kind=entry.kind,
        time=rfc3339(entry.at_ms),
        central=_charge(entry.central),
        high=_charge(entry.high),
    )


def _charge(amounts: Amounts) -> ChargeAnswer:
    return ChargeAnswer(
        energy_wh=amounts.energy_uwh / UWH_PER_WH,
        water_ml=amounts.water_ul / UL_PER_ML,
        carbon_g=amounts.carbon_ug / UG_PER_G,
        images=amounts.images,
        cost_usd=None if amounts.unpriced else amounts.cost_uusd / UUSD_PER_USD,
    )


def _range(total: Sum, scale: int) -> RangeAnswer:
    return RangeAnswer(high=total.high / scale, low=None if total.low is None else total.low / scale)


def _avoided(row: UsageRow, avoided: Avoided) -> AvoidedAnswer:
    """Unknown where requests were counted and no record tells."""
    unknown = row.requests > 0 and avoided.known == 0
    return AvoidedAnswer(carbon_g=None if unknown else avoided.ug / UG_PER_G, known_requests=avoided.known)


def _basis(row: UsageRow) -> Literal["settled", "estimate", "mixed"] | None:
    if row.settled and row.estimated:
        return "mixed"
    if row.settled or row.estimated:
        return "settled" if row.settled else "estimate"
    return None
