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
        _table(answer["data"])


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    groups = list(rows[0]["group"]) if rows else []
    table = Table("start", *groups, *NUMBERS)
    for row in rows:
        numbers = ["unknown" if row[name] is None else f"{row[name]:,.6g}" for name in NUMBERS]
        table.add_row(row["start"], *(row["group"][name] or "(none)" for name in groups), *numbers)
    Console().print(table)
