"""`ecogate raises`: extra amounts for budgets of a running gateway, for a while and for a reason."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from gateway.cli.asking import HERE, AsJson, Url, asked

app = typer.Typer(help="Raise budgets for a while, reset them, end raises.", no_args_is_help=True)

Key = Annotated[str, typer.Option(envvar="ECOGATE_KEY", help="An administrator's API key")]


@app.command()
def create(
    key: Key,
    policy: Annotated[str, typer.Option(help="Name of the budget")],
    reason: Annotated[str, typer.Option(help="Why; kept with the raise")],
    scope: Annotated[list[str] | None, typer.Option(help="Such as team=design, repeatable")] = None,
    amount: Annotated[list[str] | None, typer.Option(help="Such as 'carbon=1 kg', repeatable")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="By what the window has used")] = False,
    until: Annotated[str | None, typer.Option(help="RFC 3339 time; the window's end without it")] = None,
    org: Annotated[str | None, typer.Option(help="Your own without it")] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Add to the limits of one counter, or reset it, until a date."""
    amounts: dict[str, Any] = dict(_pair(text, "--amount") for text in amount or [])
    if str(amounts.get("images", "")).isdecimal():
        amounts["images"] = int(amounts["images"])
    body = {
        "policy": policy,
        "reason": reason,
        "scope": dict(_pair(text, "--scope") for text in scope or []),
        "amounts": amounts,
        "reset": reset,
        "until": until,
        "org": org,
    }
    _show(asked(url, "/eco/v1/raises", key, method="POST", body=body), as_json=as_json)


@app.command("list")
def listing(key: Key, url: Url = HERE, as_json: AsJson = False) -> None:
    """List raises, ended ones too."""
    answer = asked(url, "/eco/v1/raises", key)
    if as_json:
        typer.echo(json.dumps(answer))
        return
    for one in answer["data"]:
        _show(one, as_json=False)


@app.command()
def end(raise_id: str, key: Key, url: Url = HERE, as_json: AsJson = False) -> None:
    """Take a raise back; what was used on it stays used."""
    _show(asked(url, f"/eco/v1/raises/{raise_id}", key, method="DELETE"), as_json=as_json)


def _show(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(one))
        return
    amounts = ", ".join(f"{name} +{value:g}" for name, value in one["amounts"].items())
    scope = ", ".join(f"{name} {value}" for name, value in one["scope"].items())
    state = f"ended {one['ended']} by {one['ended_by']}" if one["ended"] else f"until {one['until']}"
    typer.echo(
        f"{one['id']}  {one['policy']} ({scope})  {amounts}  {state}  {one['author']}: {one['reason']}"
    )


def _pair(text: str, option: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter("must be name=value", param_hint=option)
    return name, value
