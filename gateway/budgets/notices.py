"""What budgets say about requests that they let pass: would-be refusals and thresholds.

Pure. Budgets in shadow speak to the record alone; the others to the client too, with amounts only for those
who may see them. Refuses to know how a request was admitted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.budgets.matching import shown_scope, visible_to
from gateway.budgets.refusal import code_of, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.budgets.counter import Shortfall
    from gateway.budgets.holds import Held
    from gateway.budgets.matching import MatchedBudget
    from gateway.identity.subject import Subject


def verdict_log(matched: Sequence[MatchedBudget], exceeded: Sequence[Shortfall]) -> list[dict[str, Any]]:
    """One line per budget that a request counts against, the same in every mode but for `mode`.

    A budget without room says `deny`, in which dimensions and why; amounts are not for the record, which more
    people may read than may see them.
    """
    lines = []
    for match in matched:
        rows = [row for row in exceeded if row.counter.id == match.counter.id]
        line: dict[str, Any] = {
            "policy": match.budget.name,
            "scope": dict(match.counter.scope),
            "mode": match.budget.mode,
            "verdict": "deny" if rows else "admit",
        }
        if rows:
            line["exceeded"] = {row.dimension.value: code_of(row) for row in rows}
        lines.append(line)
    return lines


def notices(
    held: Held, matched: Sequence[MatchedBudget], subject: Subject, *, now: datetime
) -> tuple[str, ...]:
    """What the client of an admitted request is told: budgets that only warn, and thresholds passed."""
    warning = {match.counter.id for match in matched if match.budget.mode == "warn"}
    rows = [row for row in held.exceeded if row.counter.id in warning]
    told = [f"Not enforced: {refusal(rows, matched, subject, now=now).message}"] if rows else []
    told += [
        text
        for match in matched
        if match.budget.mode != "shadow" and visible_to(match.budget, match.counter.scope, subject)
        for text in _passed(match, held)
    ]
    return tuple(told)


def _passed(match: MatchedBudget, held: Held) -> list[str]:
    """The highest threshold that each dimension is past, holds included."""
    told = []
    for room in held.available:
        if room.counter.id != match.counter.id:
            continue
        taken = room.limit - room.available
        passed = [percent for percent in match.budget.warn_at if 100 * taken >= percent * room.limit]
        if passed:
            scope = ", ".join(f"{name} {value}" for name, value in shown_scope(match.counter.scope).items())
            name = f"'{match.budget.name}'" + (f" ({scope})" if scope else "")
            told.append(f"Budget {name} is past {passed[-1]}% of its {room.dimension.value}.")
    return told
