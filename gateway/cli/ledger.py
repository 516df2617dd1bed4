"""`ecogate ledger`: what operators ask about the budgets' counters."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.configured import settings_or_exit

if TYPE_CHECKING:
    from gateway.budgets.audit import Audit, Difference
    from gateway.budgets.raise_audit import RaiseAudit
    from gateway.budgets.witness import Recovery

    Found = tuple[Audit, RaiseAudit, list[Recovery]]

app = typer.Typer(help="Check the budgets' counters.", no_args_is_help=True)

STORE_TIMEOUT_MS = 10_000
RECOVERIES = 20
"""So many of the last changes of servers are told per org: one for each process that was there."""


@app.callback()
def _ledger() -> None:
    """Check the budgets' counters."""


@app.command()
def verify(
    org: Annotated[str | None, typer.Option(help="Only this organisation")] = None,
    data_dir: Annotated[
        Path, typer.Option(envvar="ECOGATE_DATA_DIR", help="The gateway's data directory")
    ] = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Compare every counter with its journal in Redis and SQL, and with the open holds.

    Raises are compared with their grants and ends in the journal. Also tells the last changes of servers of
    the store, and which holds they left unexplained. Changes nothing and may run beside the gateway. Exit
    code 1 when any figure or raise differs, 2 when a store does not answer.
    """
    from redis.exceptions import RedisClusterException, RedisError

    from gateway.errors import StoreError

    try:
        found = asyncio.run(_audits(org, data_dir))
    except (StoreError, RedisError, RedisClusterException, OSError) as error:
        typer.echo(f"the stores cannot be compared: {error}", err=True)
        raise typer.Exit(2) from None
    differences = [row for audit, raises, _ in found for row in (*audit.differences, *raises.differences)]
    if as_json:
        typer.echo(json.dumps({"data": [_as_json(*each) for each in found], "exact": not differences}))
    else:
        for audit, raises, recoveries in found:
            _print(audit)
            _print_raises(raises)
            for recovery in recoveries:
                _print_recovery(recovery)
    if differences:
        raise typer.Exit(1)


async def _audits(org: str | None, data_dir: Path) -> list[Found]:
    import msgspec

    from gateway.budgets.audit import audit
    from gateway.budgets.raise_audit import audit_raises
    from gateway.budgets.witness import Recovery
    from gateway.store.connection import connect
    from gateway.store.keyspace import ORGS
    from gateway.store.sql import open_database
    from gateway.store.valkey import EmbeddedValkey
    from gateway.usage.archive import Archive

    settings = settings_or_exit()
    embedded = None
    if settings.redis_url is None:
        embedded = await asyncio.to_thread(EmbeddedValkey.start, data_dir, binary=settings.redis_server_bin)
    try:
        url = embedded.url if embedded is not None else settings.redis_url.get_secret_value()  # type: ignore[union-attr]
        redis = connect(url, timeout_ms=STORE_TIMEOUT_MS)
        database_url = settings.database_url.get_secret_value() if settings.database_url else None
        database = await open_database(database_url, data_dir)
        try:
            archive = Archive(database)
            known = (
                {org} if org is not None else {*map(str, await redis.smembers(ORGS)), *await archive.orgs()}
            )
            found = []
            for name in sorted(known):
                texts = (await archive.recoveries(name))[-RECOVERIES:]
                told = [msgspec.json.decode(text, type=Recovery) for text in texts]
                raises = await audit_raises(redis, archive, name)
                found.append((await audit(redis, archive, name), raises, told))
            return found
        finally:
            await database.close()
            await redis.aclose()
    finally:
        if embedded is not None:
            await asyncio.to_thread(embedded.stop)


def _print(audit: Audit) -> None:
    verdict = f"{len(audit.differences)} differences" if audit.differences else "exact"
    typer.echo(f"{audit.org}: {verdict} ({audit.counters} counters, {audit.open_holds} open holds)")
    for row in audit.differences:
        shown = _row(row)
        typer.echo(
            f"  {shown['counter']} from {shown['start']}: {row.what} {row.figure}"
            f" is {row.stored}, should be {row.expected}"
        )


def _print_raises(audit: RaiseAudit) -> None:
    for row in audit.differences:
        typer.echo(f"  raise {row.raise_id} of {row.policy} is {row.what}")


def _print_recovery(recovery: Recovery) -> None:
    from gateway.budgets.amounts import FIGURES
    from gateway.budgets.windows import moment

    typer.echo(
        f"  another server took over at {moment(recovery.at_ms).isoformat()}:"
        f" {recovery.adopted} endings from the database, {recovery.restored} holds brought back,"
        f" {recovery.resent} settlements sent again,"
        f" {len(recovery.unexplained)} holds unexplained"
    )
    for one in recovery.unexplained:
        amounts = ", ".join(f"{figure} {amount}" for figure, amount in zip(FIGURES, one.amounts, strict=True))
        typer.echo(f"    hold {one.hold}: {amounts}")


def _row(row: Difference) -> dict[str, Any]:
    from gateway.budgets.windows import moment

    return {
        "counter": row.counter,
        "start": moment(row.start_ms).isoformat(),
        "what": row.what,
        "figure": row.figure,
        "stored": row.stored,
        "expected": row.expected,
    }


def _as_json(audit: Audit, raises: RaiseAudit, recoveries: list[Recovery]) -> dict[str, Any]:
    import msgspec

    return {
        "org": audit.org,
        "counters": audit.counters,
        "open_holds": audit.open_holds,
        "differences": [_row(row) for row in audit.differences],
        "raises": raises.raises,
        "raise_differences": [
            {"raise": row.raise_id, "policy": row.policy, "what": row.what} for row in raises.differences
        ],
        "recoveries": [msgspec.to_builtins(one) | {"totals": one.totals()} for one in recoveries],
    }
