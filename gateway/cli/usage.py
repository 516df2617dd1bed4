"""`ecogate usage`: what a running gateway has counted, as far as the key may see it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from gateway.cli.asking import HERE, AsJson, Url, asked

NUMBERS = {
    "requests": "requests",
    "images": "images",
    "energy_wh": "Wh",
    "water_ml": "mL",
    "carbon_g": "gCO2e",
    "cost_usd": "USD",
}


def usage(
    key: Annotated[str, typer.Option(envvar="ECOGATE_KEY", help="API key")],
    url: Url = HERE,
    window: Annotated[str, typer.Option(help="hour, day, week, month or total")] = "day",
    group_by: Annotated[str | None, typer.Option(help="Such as team,zone")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="RFC 3339 time; this month without it")] = None,
    end: Annotated[str | None, typer.Option("--to", help="RFC 3339 time")] = None,
    tz: Annotated[str | None, typer.Option(help="IANA zone of the windows")] = None,
    as_json: AsJson = False,
) -> None:
    """Show usage in energy, water and carbon; the figures are estimates."""
    params = {"window": window, "group_by": group_by, "from": begin, "to": end, "tz": tz}
    answer = asked(url, "/eco/v1/usage", key, params=params)
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        _table(answer["data"], hourly=window == "hour")


def _table(rows: list[dict[str, Any]], *, hourly: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    groups = list(rows[0]["group"]) if rows else []
    table = Table("start", *groups, *NUMBERS.values(), box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for row in rows:
        numbers = ["unknown" if row[name] is None else f"{row[name]:,.4g}" for name in NUMBERS]
        start = row["start"] if hourly else row["start"][: len("2026-12-31")]
        table.add_row(start, *(row["group"][name] or "(none)" for name in groups), *numbers)
    Console().print(table)
