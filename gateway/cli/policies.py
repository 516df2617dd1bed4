"""`ecogate policies`: what budgets would have done, before they do it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.configured import settings_or_exit

if TYPE_CHECKING:
    from gateway.budgets.policy import PolicySet
    from gateway.budgets.replay import Asked
    from gateway.usage.history import PastRequest

app = typer.Typer(help="Try budgets on recorded requests.", no_args_is_help=True)

AGO = re.compile(r"([1-9][0-9]{0,4})([hdw])")
UNIT_MS = {"h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


@app.callback()
def _policies() -> None:
    """Try budgets on recorded requests."""


@app.command()
def replay(
    policies: Annotated[
        Path,
        typer.Option(envvar="ECOGATE_POLICIES", help="The folder of budgets to try; it need not be live"),
    ],
    since: Annotated[str, typer.Option(help="Such as 30d, 12h, 4w, or an RFC 3339 time")] = "30d",
    org: Annotated[str | None, typer.Option(help="Only this organisation")] = None,
    top: Annotated[int, typer.Option(min=0, max=1000, help="How many scopes to list per budget")] = 5,
    data_dir: Annotated[
        Path, typer.Option(envvar="ECOGATE_DATA_DIR", help="The gateway's data directory")
    ] = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Replay recorded requests through budgets: what would have been refused, of whom, and when first.

    A report from the usage history; nothing is enforced, and the gateway is not asked.
    """
    from gateway.budgets.policy import load_policies
    from gateway.errors import ConfigError, StoreError

    until_ms = int(time.time() * 1000)
    since_ms = _moment_ms(since, until_ms)
    try:
        report = asyncio.run(_replayed(load_policies(policies), since_ms, until_ms, org, data_dir, top=top))
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except StoreError as error:
        typer.echo(f"the usage history cannot be read: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(report))
    else:
        _print(report)


async def _replayed(
    policies: PolicySet, since_ms: int, until_ms: int, org: str | None, data_dir: Path, *, top: int
) -> dict[str, Any]:
    from gateway.budgets.replay import Replay
    from gateway.budgets.windows import moment
    from gateway.errors import StoreError
    from gateway.store.sql import FILE_NAME, open_database
    from gateway.usage.history import past_requests

    settings = settings_or_exit()
    url = settings.database_url.get_secret_value() if settings.database_url else None
    if url is None and not (data_dir / FILE_NAME).is_file():
        msg = f"there is none in {data_dir}, which is not the data directory of a gateway"
        raise StoreError(msg)
    database = await open_database(url, data_dir)
    run, skipped = Replay(policies), 0
    try:
        async for past in past_requests(database, since_ms, until_ms, org=org):
            asked = _asked(past)
            if asked is None:
                skipped += 1
            else:
                run.take(asked)
    finally:
        await database.close()
    since, until = (moment(at_ms).isoformat(timespec="seconds") for at_ms in (since_ms, until_ms))
    period = {"since": since, "until": until}
    return {**period, "not_charged": skipped, **run.report(top=top)}


def _asked(past: PastRequest) -> Asked | None:
    """What the request asked of budgets; None for one that was given back, because it did not run."""
    from gateway.budgets.amounts import Amounts, Charge
    from gateway.budgets.replay import Asked
    from gateway.identity.subject import Role, Subject

    if past.refused is not None:
        charge = _estimated(past.refused.footprint, past.refused.images_requested)
    else:
        charge = Charge(Amounts.of(past.central), Amounts.of(past.high))
    if charge is None or not any(charge.central.known().values()):
        return None
    subject = Subject(past.org, past.key, Role.MEMBER, past.team, past.user, past.labels)
    deployment, refused = past.deployment, past.refused is not None
    if past.refused is not None and past.refused.candidates:
        deployment = past.refused.candidates[0]["deployment"]
    return Asked(past.at_ms, subject, past.model, past.route, deployment or "", charge, refused=refused)


def _estimated(footprint: dict[str, Any], images: int) -> Any:
    from gateway.budgets.amounts import Amounts, Charge, Dimension

    def amounts(bound: str) -> Amounts:
        energy, water, carbon = (
            round(footprint[dimension.field][bound] * dimension.scale)
            for dimension in (Dimension.ENERGY, Dimension.WATER, Dimension.CARBON)
        )
        return Amounts(energy, water, carbon, images)

    try:
        return Charge(amounts("central"), amounts("high"))
    except (KeyError, TypeError):
        return None


def _moment_ms(text: str, now_ms: int) -> int:
    ago = AGO.fullmatch(text)
    if ago is not None:
        return now_ms - int(ago[1]) * UNIT_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter("must be such as 30d, 12h or 4w, or an RFC 3339 time", param_hint="--since")
    return int(moment.timestamp() * 1000)


def _print(report: dict[str, Any]) -> None:
    typer.echo(
        f"{report['requests']} requests from {report['since']} to {report['until']}:"
        f" {report['admitted']} admitted, {report['refused']} refused"
        f" ({report['newly_refused']} of them were admitted then);"
        f" {report['newly_admitted']} that were refused then would be admitted"
    )
    if report["changeable"]:
        ways = report["changeable_by"]
        typer.echo(
            f"  {report['changeable']} refused ones might have been made lighter ({ways['downgrade']}),"
            f" rerouted ({ways['reroute']}), or either or both ({ways['both']}) instead"
        )
    if report["not_charged"]:
        typer.echo(f"  {report['not_charged']} more were given back because they did not run")
    for line in report["budgets"]:
        _print_line(f"{line['policy']} [{line['mode']}]", line)
        for one in line["top"]:
            _print_line("  " + ", ".join(f"{name} {value}" for name, value in one["scope"].items()), one)
    typer.echo("Not known:")
    for sentence in report["cannot_know"]:
        typer.echo(f"  - {sentence}")


def _print_line(name: str, line: dict[str, Any]) -> None:
    peaks = ", ".join(f"{dimension} {share:.1%}" for dimension, share in line["peak_share"].items())
    first = f", first at {line['first_refusal']}" if line["first_refusal"] else ""
    typer.echo(
        f"{name}: {line['admitted']} admitted, {line['refused']} refused{first}; peak {peaks or 'none'}"
    )
