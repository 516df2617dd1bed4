"""How the demo tells what happened: an introduction, one table, the checks, the addresses.

Prints plain lines when the output is no terminal. Refuses to compute anything.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.demo.gateway_process import RunningGateway
    from gateway.demo.story import Delivered, Facts

_NO_TERMINAL_WIDTH = 132
_UNITS = {"energy": "Wh", "water": "mL", "carbon": "gCO2e", "images": "images"}
_REMAINING = re.compile(rf"(?P<policy>[^;]+);(?P<dimension>{'|'.join(_UNITS)})=(?P<amount>-?[0-9.]+)")


def introduction(console: Console) -> None:
    """What this is, and what it is not."""
    if not console.is_terminal:
        console.width = _NO_TERMINAL_WIDTH
    console.print(
        "[bold]ecogate demo[/]: the real gateway in front of three stand-in image services. Nothing real is\n"
        "generated; each image is priced as if the stand-in ran FLUX.1-dev on one H100 in its grid zone,\n"
        "and that of a conversation as if GPT-4o had gpt-image-1.5 draw it.\n",
        highlight=False,
    )


def table(console: Console, delivered: list[Delivered], refusal: dict[str, Any]) -> None:
    """The priced images, and the refusal below them."""
    shown = Table(title="central estimate (low to high) of each request", title_justify="left")
    for title in ("image", "deployment", "zone"):
        shown.add_column(title, overflow="fold")
    for title in ("Wh", "mL", "gCO2e"):
        shown.add_column(title, justify="right")
    shown.add_column("budget left")
    for one in delivered:
        shown.add_row(
            "\n".join(str(file) for file in one.files),
            one.headers.get("ecogate-deployment", "unknown"),
            one.headers.get("ecogate-zone", "unknown"),
            *(_figure(one, dimension) for dimension in ("energy-wh", "water-ml", "carbon-g")),
            _left(one.headers.get("ecogate-budget-remaining")),
        )
    console.print()
    console.print(shown)
    console.print("[bold]402 with error.eco[/]:", end=" ", soft_wrap=True)
    eco = refusal.get("eco") or {}
    names = ("code", "policy", "scope", "dimension", "limit", "used", "held", "requested", "remaining")
    shown_eco = {**refusal, **eco, "scope": ", ".join(f"{k} {v}" for k, v in eco.get("scope", {}).items())}
    facts = ", ".join(f"{name} {shown_eco[name]}" for name in names if eco and name in shown_eco)
    console.print(escape(facts or "no error.eco came back"), highlight=False, soft_wrap=True)


def _left(header: str | None) -> str:
    """`design-month;energy=997.720089` for people."""
    match = _REMAINING.fullmatch(header or "")
    if match is None:
        return header or "unknown"
    amount, unit = f"{float(match['amount']):.4g}", _UNITS[match["dimension"]]
    return f"{amount} {unit.removesuffix('s') if amount == '1' else unit}\n{match['policy']}"


def _figure(one: Delivered, dimension: str) -> str:
    central, low, high = (one.figure(dimension, bound) for bound in ("", "-low", "-high"))
    if math.isnan(central):
        return "unknown"
    return f"{central:.3g}" if math.isnan(low + high) else f"{central:.3g}\n({low:.2g} to {high:.2g})"


def facts(console: Console, checked: Facts) -> None:
    """How many checks held, and each that did not."""
    held = len(checked.checked) - len(checked.failed)
    console.print(f"\n{held} of {len(checked.checked)} checks held.", highlight=False)
    for fact in checked.failed:
        console.print(f"[red]not so:[/] {escape(fact)}", highlight=False)


def failure(console: Console, error: Exception, log: str) -> None:
    """The step that ended the demo, and the end of the gateway's log."""
    text = f"{type(error).__name__}: {error}" + (f"\nthe end of the gateway's log:\n{log}" if log else "")
    console.print(text, style="red", markup=False, highlight=False)


def addresses(console: Console, gateway: RunningGateway, *, reader: str, designer: str) -> None:
    """Where to look next. The keys are worth nothing outside this demo."""
    lines = (
        f"gateway    {gateway.url}/v1   (OPENAI_BASE_URL; OPENAI_API_KEY={designer})",
        f"dashboard  {gateway.url}/dashboard   (key: {reader})",
        f"API docs   {gateway.url}/docs",
        f"metrics    {gateway.url}/metrics",
        f"usage      curl -H 'Authorization: Bearer {reader}' '{gateway.url}/eco/v1/usage?group_by=zone'",
        f"log        {gateway.log}",
    )
    console.print()
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
