"""What failed attempts of a request may have taken for nothing, from its own record.

Estimates, of attempts that may have run and were not charged to any budget; 0 where there were none. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.usage.record import Record

PER_UNIT = {"energy_wh": 1_000_000, "water_ml": 1_000, "carbon_g": 1_000_000}
"""uWh, uL and ugCO2e: the ledger's integers."""


def wasted(record: Record, field: str) -> int:
    """A quantity over all attempts, in the ledger's integers."""
    amounts = [attempt.wasted.get(field, 0.0) for attempt in record.attempts if attempt.wasted is not None]
    return round(sum(amounts) * PER_UNIT[field])
