"""Usage as CSV, for spreadsheets.

Invariant: no cell of text can be taken for a formula. A value that is not known is an empty cell.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.api.answers import RangeAnswer, UsageItem

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
CSV_TYPE = "text/csv; charset=utf-8; header=present"
QUANTITIES = ("energy_wh", "water_ml", "carbon_g")
BASELINES = ("even_spread", "best_fixed")


def usage_csv(items: Sequence[UsageItem], group_by: Sequence[str]) -> str:
    """A header line and a line per row of usage; columns as in the JSON answer."""
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\r\n")
    counts = ("requests", "refused", "retries", "images")
    figures = [f"{name}{part}" for name in QUANTITIES for part in ("", "_low", "_high")]
    avoided = [f"avoided_{part}_vs_{name}" for name in BASELINES for part in ("carbon_g", "known_requests")]
    header = [
        "start",
        "end",
        *map(cell, group_by),
        *counts,
        *figures,
        "cost_usd",
        "unpriced_requests",
        "basis",
    ]
    writer.writerow([*header, *avoided, *(f"waste_{name}" for name in QUANTITIES)])
    for item in items:
        ranges: list[tuple[float, RangeAnswer]] = [
            (item.energy_wh, item.energy_wh_range),
            (item.water_ml, item.water_ml_range),
            (item.carbon_g, item.carbon_g_range),
        ]
        writer.writerow(
            [
                item.start,
                item.end,
                *(cell(item.group[name]) for name in group_by),
                *(item.requests, item.refused, item.retries, item.images),
                *(figure for value, around in ranges for figure in (value, around.low, around.high)),
                *(item.cost_usd, item.unpriced_requests),
                item.basis,
                *(
                    figure
                    for name in BASELINES
                    for figure in (item.avoided[name].carbon_g, item.avoided[name].known_requests)
                ),
                *(item.waste.energy_wh, item.waste.water_ml, item.waste.carbon_g),
            ]
        )
    return sheet.getvalue()


def cell(text: str | None) -> str:
    """A text that a spreadsheet shows instead of computing it."""
    if text is None:
        return ""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
