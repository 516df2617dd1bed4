"""How the ledger's calls look to its scripts: keys, JSON arguments, and answers read back.

Invariant: amounts travel as decimal integers in the order of `FIGURES`, and every key of a call carries
the org's hash tag. Pure; refuses to know connections.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.budgets.amounts import FIGURES, MAX_REQUEST, MAX_STORED, Amounts, Bound, Charge, Dimension
from gateway.budgets.counter import Bucket, Counter, Shortfall
from gateway.budgets.holds import Balance, Denied, Held, Kind, Room, Settled
from gateway.errors import HoldGone, LedgerUnavailable, WindowMoved
from gateway.store.keyspace import alerted_key, alerts_key, meta_key, org_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.budgets.claims import Claim

DIMENSIONS: Final = tuple(Dimension)
NO_LIMIT = -1
SCOPE_DIGEST_BYTES = 12  # 2**48 scopes of one budget before two are likely to meet


class Posting(msgspec.Struct, array_like=True, frozen=True):
    """One counter of a hold, as the hold keeps it: all strings, because Lua would round the numbers."""

    key: str
    id: str
    starts: str
    until: str
    bound: Bound


@dataclass(frozen=True, slots=True)
class OrgKeys:
    """The keys of one org that are not counters."""

    org: str

    def hold(self, hold_id: str) -> str:
        return org_key(self.org, "h", hold_id)

    @property
    def open_holds(self) -> str:
        return org_key(self.org, "open")

    @property
    def meta(self) -> str:
        return meta_key(self.org)

    @property
    def alerts(self) -> str:
        return alerts_key(self.org)

    @property
    def alerted(self) -> str:
        return alerted_key(self.org)

    def claim(self, name: str) -> str:
        return org_key(self.org, "i", name)

    def counter(self, counter: Counter, bucket: Bucket) -> str:
        """One counter in one bucket."""
        return self.counter_key(counter.id, bucket.start_ms)

    def counter_key(self, counter_id: str, start_ms: int) -> str:
        """The key of a counter by its id; the scope is hashed, since it may hold any text of any length."""
        digest = hashlib.blake2b(counter_id.encode(), digest_size=SCOPE_DIGEST_BYTES).digest()
        scope = base64.urlsafe_b64encode(digest).decode()
        return org_key(self.org, "c", counter_id.partition("|")[0], scope, str(start_ms))

    def buckets(self, counters: Sequence[Counter]) -> list[str]:
        """Of each counter the trail of its current bucket, its current bucket and its next."""
        return [
            self.counter_key(counter.id, start_ms) for counter in counters for start_ms in counter.starts()
        ]

    def postings(self, counters: Sequence[Counter]) -> list[Posting]:
        """Where a charge goes when only the caller knows: into the current buckets."""
        return [
            Posting(
                key=self.counter(counter, counter.current),
                id=counter.id,
                starts=str(counter.current.start_ms),
                until=str(counter.until(counter.current)),
                bound=counter.bound,
            )
            for counter in counters
        ]


def check_charge(charge: Charge) -> None:
    """Raise ValueError on an amount that no ledger may ever see: negative, or over 2**40."""
    for amount in (*charge.central.vector(), *charge.high.vector()):
        if not 0 <= amount <= MAX_REQUEST:
            msg = f"a request cannot take {amount}: amounts go from 0 to 2**40"
            raise ValueError(msg)


def check_request(candidates: Sequence[Charge], counters: Sequence[Counter]) -> None:
    """Raise ValueError on a reserve that cannot be kept: no candidate, or amounts, limits out of bounds.

    A counter may be named once only: twice would check its limit against half of the amount.
    """
    if not candidates:
        msg = "a reserve needs at least one candidate"
        raise ValueError(msg)
    for charge in candidates:
        check_charge(charge)
    if len({counter.id for counter in counters}) != len(counters):
        msg = "a counter is named twice in one request"
        raise ValueError(msg)
    for counter in counters:
        for limit in counter.limits.values():
            if not 0 <= limit <= MAX_STORED:
                msg = f"{counter.id}: a limit of {limit} cannot be kept: limits go from 0 to 2**53 - 1"
                raise ValueError(msg)


def words(amounts: Amounts) -> str:
    return " ".join(str(amount) for amount in amounts.vector())


def request_json(
    candidates: Sequence[Charge],
    counters: Sequence[Counter],
    claim: Claim | None = None,
    *,
    over: str = "",
) -> str:
    """What `reserve` is asked; a claim of the hold `over` may be taken."""
    claimed = {} if claim is None else {"claim": _claim(claim, over)}
    return msgspec.json.encode(
        {
            **claimed,
            "counters": [
                {
                    "id": counter.id,
                    "bound": counter.bound,
                    "buckets": [[b.start_ms, b.end_ms] for b in (counter.current, counter.next)],
                    "trail": counter.trail,
                    "enforced": counter.enforced,
                    "limits": _limits(counter),
                    "marks": [
                        [1 + DIMENSIONS.index(mark.dimension), mark.name, str(mark.limit), mark.amount]
                        for mark in counter.marks()
                    ],
                }
                for counter in counters
            ],
            "candidates": [
                {"central": charge.central.vector(), "high": charge.high.vector()} for charge in candidates
            ],
        }
    ).decode()


def _claim(claim: Claim, over: str) -> dict[str, Any]:
    return {
        "fingerprint": claim.fingerprint,
        "binding": claim.binding,
        "lives_ms": claim.lives_s * 1000,
        "over": over,
    }


def _limits(counter: Counter) -> list[int]:
    """In the order of `FIGURES`: where cost is limited, nothing of unknown cost has room."""
    limits = [counter.limits.get(dimension, NO_LIMIT) for dimension in DIMENSIONS]
    return [*limits, 0 if Dimension.COST in counter.limits else NO_LIMIT]


def fingerprint(candidates: Sequence[Charge], counters: Sequence[Counter]) -> str:
    """What makes two reserves the same request: amounts and counters, but not limits and buckets."""
    asked = [[charge.central.vector(), charge.high.vector()] for charge in candidates]
    counted = [[counter.id, counter.bound] for counter in counters]
    return hashlib.blake2b(msgspec.json.encode([asked, counted]), digest_size=16).hexdigest()


def postings_json(postings: Sequence[Posting]) -> str:
    return msgspec.json.encode(postings).decode()


def read_postings(text: str) -> list[Posting]:
    return msgspec.json.decode(text, type=list[Posting])


def read_reserved(
    answer: Sequence[Any], counters: Sequence[Counter], org: str, hold_id: str
) -> Held | Denied:
    """The verdict of `reserve`; raises what `Ledger.reserve` documents."""
    match answer[0]:
        case "held" | "replay":
            return read_held(answer, counters)
        case "denied":
            return read_denied(answer[1][1:], counters)
        case "window":
            raise WindowMoved(answer[1])
        case "gone":
            msg = f"hold {hold_id} has already ended ({answer[1]})"
            raise HoldGone(msg)
        case "conflict":
            msg = f"hold {hold_id} belongs to another request"
            raise ValueError(msg)
        case "clock":
            msg = f"the budget store's clock went back from {answer[2]} to {answer[1]} ms"
            raise LedgerUnavailable(msg)
        case "grace":
            msg = f"another server of the budget store took over; it admits again in {answer[1]} ms"
            raise LedgerUnavailable(msg)
        case "stale":
            msg = "newer policies are in force than those that this gateway has read so far"
            raise LedgerUnavailable(msg)
        case verdict:
            msg = f"the budget store keeps no ledger for org {org} ({verdict})"
            raise LedgerUnavailable(msg)


def read_held(answer: Sequence[Any], counters: Sequence[Counter]) -> Held:
    """`answer` is the script's: verdict, candidate, room, postings, unenforced shortfalls, earlier hold."""
    verdict, candidate, room, postings, unenforced, earlier = answer
    charged = tuple(
        replace(counter, current=_charged(counter, posting))
        for counter, posting in zip(counters, read_postings(postings), strict=True)
    )
    texts = room.split()
    available = tuple(
        Room(counter, dimension, counter.limits[dimension], max(0, int(text)))
        for number, counter in enumerate(charged)
        for dimension, text in _known(texts[number * len(FIGURES) :]).items()
        if text != "-" and dimension in counter.limits
    )
    return Held(
        candidate - 1,
        charged,
        available,
        replay=verdict == "replay",
        exceeded=_shortfalls(unenforced, counters),
        earlier=earlier or None,
    )


def _charged(counter: Counter, posting: Posting) -> Bucket:
    """The bucket of a posting, which may be older than the counter's current one."""
    starts, until = int(posting.starts), int(posting.until)
    return Bucket(starts, starts + (until - starts) // (counter.trail + 1))


def _known(texts: Sequence[str]) -> dict[Dimension, str]:
    """The room of one counter; none of cost where charges of unknown cost are in it."""
    room = dict(zip(DIMENSIONS, texts, strict=False))
    if texts[len(DIMENSIONS)].startswith("-"):
        del room[Dimension.COST]
    return room


def read_denied(rows: Sequence[Sequence[int]], counters: Sequence[Counter]) -> Denied:
    return Denied(_shortfalls(rows, counters))


def _shortfalls(rows: Sequence[Sequence[int]], counters: Sequence[Counter]) -> tuple[Shortfall, ...]:
    return tuple(
        Shortfall(
            candidate=candidate - 1,
            counter=counters[counter - 1],
            bucket=counters[counter - 1].current if bucket == 1 else counters[counter - 1].next,
            dimension=DIMENSIONS[dimension - 1],
            limit=limit,
            used=used,
            held=held,
            requested=None if requested < 0 else requested,
            resets_ms=resets_ms,
        )
        for candidate, counter, bucket, dimension, limit, used, held, requested, resets_ms in rows
    )


def read_settled(answer: Sequence[Any]) -> Settled:
    kind, central, high, reserved_central, reserved_high = answer[:5]
    first: Kind = answer[5] if kind == "duplicate" else kind
    return Settled(
        kind=kind,
        first=first,
        charge=Charge(_amounts(central), _amounts(high)),
        reserved=Charge(_amounts(reserved_central), _amounts(reserved_high)),
    )


def read_balance(row: Sequence[int], counter: Counter) -> Balance:
    width = len(FIGURES)
    spent, held, *trail = (row[at : at + width] for at in range(1, len(row), width))
    return Balance(
        counter=counter,
        bucket=counter.current if row[0] == 1 else counter.next,
        used=dict(zip(DIMENSIONS, spent, strict=False)),
        held=dict(zip(DIMENSIONS, held, strict=False)),
        unpriced=spent[-1] + held[-1],
        trail=tuple(dict(zip(DIMENSIONS, earlier, strict=False)) for earlier in trail),
    )


def _amounts(text: str) -> Amounts:
    return Amounts.of([int(word) for word in text.split()])
