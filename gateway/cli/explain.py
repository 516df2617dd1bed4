"""`ecogate explain`: which budgets of a running gateway a request counts against, and what they say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.asking import HERE, AsJson, Url, asked

KEY_PREFIX = "egk_"
AMOUNTS = ("limit", "raised", "used", "held", "remaining", "requested")


def explain(
    body: Annotated[
        Path,
        typer.Option(
            help="The request as JSON, as it would be sent: generation, edit (with images), response or chat;"
            " - is standard input"
        ),
    ],
    key: Annotated[
        str | None, typer.Option(help="Whose request: an API key, or the id of one (for administrators)")
    ] = None,
    org: Annotated[str | None, typer.Option(help="Whose request (for administrators)")] = None,
    team: Annotated[str | None, typer.Option(help="Whose request (for administrators)")] = None,
    user: Annotated[str | None, typer.Option(help="Whose request (for administrators)")] = None,
    label: Annotated[list[str] | None, typer.Option(help="name=value, repeatable")] = None,
    own_key: Annotated[
        str | None, typer.Option("--as", envvar="ECOGATE_KEY", help="Your API key, if --key is not one")
    ] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Explain what budgets would say to a request now; nothing is sent, held or charged.

    Exit code 1 when it would be refused.
    """
    bearer, key_id = _whose(key, own_key)
    whose = {"key": key_id, "org": org, "team": team, "user": user, "label": label}
    found = asked(url, "/eco/v1/estimate", bearer, method="POST", params=whose, body=_content(body), failed=2)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _print(found)
    if found["verdict"] == "deny":
        raise typer.Exit(1)


def _whose(key: str | None, own_key: str | None) -> tuple[str, str | None]:
    """The key to ask with, and the id of the one that an administrator asks about."""
    if key is not None and key.startswith(KEY_PREFIX):
        return key, None
    if own_key is None:
        message = "name a key to ask with: --key with an API key, or ECOGATE_KEY"
        raise typer.BadParameter(message, param_hint="--key")
    return own_key, key


def _content(body: Path) -> bytes:
    if str(body) == "-":
        return sys.stdin.buffer.read()
    try:
        return body.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{body} cannot be read: {error.strerror}", param_hint="--body") from None


def _print(found: dict[str, Any]) -> None:
    typer.echo(f"{found['verdict']}: {found['deployment']} in zone {found['zone'] or 'unknown'}, estimated")
    for change, values in found.get("downgrade", {}).items():
        typer.echo(f"  {change} {values['got']} instead of {values['asked'] or 'the default'}")
    if "reroute" in found:
        moved = found["reroute"]
        named = f", as model {moved['model']['got']}" if "model" in moved else ""
        typer.echo(f"  {moved['to']} instead of {moved['from']}{named}")
    for one in found["candidates"]:
        if "policies" in one:
            typer.echo(f"  {one['deployment']} counts against {', '.join(one['policies']) or 'no budget'}")
    for policy in found["policies"]:
        _print_policy(policy)
    if not found["policies"]:
        typer.echo("no budget has a say")
    if "refusal" in found:
        typer.echo(found["refusal"]["error"]["message"])
        for other in found["refusal"]["error"]["eco"]["alternatives"]:
            typer.echo("  would fit: " + ", ".join(f"{name}={value}" for name, value in other["set"].items()))


def _print_policy(policy: dict[str, Any]) -> None:
    scope = ", ".join(f"{name} {value}" for name, value in policy["scope"].items())
    window = policy["window"]
    typer.echo(
        f"{policy['policy']}{f' ({scope})' if scope else ''}: {policy['verdict']} in mode {policy['mode']},"
        f" {window.get('every', window['kind'])} from {window['start']} to {window['end']}"
    )
    for reason in policy["because"]:
        typer.echo(f"  {reason}")
    for row in policy.get("limits", ()):
        amounts = ", ".join(
            f"{name} {'unknown' if row[name] is None else format(row[name], '.6g')}" for name in AMOUNTS
        )
        unit = "" if row["unit"] == row["dimension"] else f" in {row['unit']}"
        typer.echo(f"  {row['dimension']}{unit}, {policy['bound']} estimates: {amounts}")
