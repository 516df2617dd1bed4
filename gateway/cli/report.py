"""`ecogate report`: a month for the owner of sustainability, as Markdown or JSON, from a running gateway.

Every number has its unit and comes from the gateway; what is not known is called unknown. Refuses to compute
footprints.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.asking import HERE, Url, asked

GROUPS = ("team", "model", "zone")
QUANTITIES = (("Energy", "energy_wh", "Wh"), ("Water", "water_ml", "mL"), ("Carbon", "carbon_g", "gCO2e"))
LATEST = 200
FORMULA = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;", "`": "'"})


def report(
    key: Annotated[str, typer.Option(envvar="ECOGATE_KEY", help="API key; it sees what its role may see")],
    url: Url = HERE,
    month: Annotated[str | None, typer.Option(help="YYYY-MM; the last whole month without it")] = None,
    tz: Annotated[str, typer.Option(help="IANA zone of the month")] = "UTC",
    output: Annotated[Path | None, typer.Option(help="Write the Markdown to this file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The figures behind the report")] = False,
) -> None:
    """Report a month: amounts with their bounds, refusals, budgets, what routing avoided, and the method."""
    first = _month(month)
    following = (first + timedelta(days=32)).replace(day=1)
    params = {"from": first.isoformat(), "to": following.isoformat(), "tz": tz}

    def ask(path: str, **more: str) -> dict[str, Any]:
        return asked(url, f"/eco/v1/{path}", key, params=more)

    total = ask("usage", **params, window="total")
    latest = ask("requests", **params, limit=str(LATEST))["data"]
    facts = {
        "month": first.strftime("%Y-%m"),
        "timezone": tz,
        "total": total["data"][0],
        "by": {name: ask("usage", **params, window="total", group_by=name)["data"] for name in GROUPS},
        "budgets": ask("budgets")["data"],
        "warnings": Counter(text for one in latest for text in one["warnings"]),
        "warnings_from_latest_requests": len(latest),
        "factors": sorted({str(source) for one in latest for source in one["sources"]}),
        "units": total["units"],
        "method": total["method"],
        "baselines": total["baselines"],
    }
    text = json.dumps(facts) if as_json else "\n".join(markdown(facts)) + "\n"
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


def markdown(facts: dict[str, Any]) -> list[str]:
    """The report as lines of Markdown."""
    total = facts["total"]
    lines = [
        f"# Image generation in {facts['month']} ({facts['timezone']})",
        "",
        f"{total['requests']} requests, {total['refused']} of them refused; {total['images']} images.",
        f"Basis: {total.get('basis', 'nothing was charged')} (settled: from what came back).",
        "",
        "| | low | central | high | unit |",
        "|---|---|---|---|---|",
        *(f"| {title} | {_bounds(total, field)} | {unit} |" for title, field, unit in QUANTITIES),
        "",
        "## Avoided carbon",
        "",
        "Baseline less what was caused; negative where more was caused. A comparison only.",
        "",
        "| against | gCO2e | requests whose records tell | meaning |",
        "|---|---|---|---|",
        *(
            f"| {name} | {_number(one['carbon_g'])} | {one['known_requests']} of {total['requests']} "
            f"| {facts['baselines'][name]} |"
            for name, one in total["avoided"].items()
        ),
    ]
    for name, rows in facts["by"].items():
        columns = [f"{title.lower()} {unit} (low to high)" for title, _, unit in QUANTITIES]
        lines += [
            "",
            f"## By {name}",
            "",
            f"| {name} | requests | refused | images | {' | '.join(columns)} |",
        ]
        lines += ["|---" * (4 + len(columns)) + "|"]
        lines += [
            f"| {_text(row['group'][name])} | {row['requests']} | {row['refused']} | {row['images']} | "
            + " | ".join(_range(row, field) for _, field, _ in QUANTITIES)
            + " |"
            for row in rows
        ]
    lines += ["", "## Budgets as they stand now", ""]
    lines += ["| budget | counts | used | held | limit | unit |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {_text(row['policy'])} | {row['dimension']} | {_number(row['used'])} | {_number(row['held'])} "
        f"| {_number(row['limit'])} | {row['unit']} |"
        for row in facts["budgets"]
    ]
    lines += ["", f"## Warnings among the latest {facts['warnings_from_latest_requests']} requests", ""]
    lines += [f"- {count} times: {_text(text)}" for text, count in facts["warnings"].items()] or ["None."]
    lines += ["", "## Method and sources", "", facts["method"], ""]
    lines += [f"- `{name}`: {_text(meaning)}" for name, meaning in facts["units"].items()]
    lines += [f"- Factors used by those requests: {_text(', '.join(facts['factors'])) or 'unknown'}"]
    return lines


def _month(text: str | None) -> date:
    if text is None:
        return (datetime.now(UTC).date().replace(day=1) - timedelta(days=1)).replace(day=1)
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        typer.echo("--month must be YYYY-MM", err=True)
        raise typer.Exit(2) from None


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.6g}"


def _bounds(row: dict[str, Any], field: str) -> str:
    around = row[f"{field}_range"]
    return " | ".join(_number(value) for value in (around.get("low"), row[field], around["high"]))


def _range(row: dict[str, Any], field: str) -> str:
    around = row[f"{field}_range"]
    return f"{_number(row[field])} ({_number(around.get('low'))} to {_number(around['high'])})"


def _text(value: str | None) -> str:
    """A text that cannot leave its cell."""
    return "(none)" if value is None else value.translate(FORMULA)
