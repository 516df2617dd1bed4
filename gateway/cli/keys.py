"""`ecogate keys`: API keys, kept in the database of the data directory. How a first user gets a key."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gateway.cli.configured import settings_or_exit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.identity.registry import KeyEntry, KeyRegistry

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)

DataDir = Annotated[Path, typer.Option(envvar="ECOGATE_DATA_DIR", help="The gateway's data directory")]
T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]


@app.command()
def create(
    org: Annotated[str, typer.Option(help="Organisation")] = "default",
    team: Annotated[str | None, typer.Option(help="Team")] = None,
    user: Annotated[str | None, typer.Option(help="User")] = None,
    role: Annotated[
        str, typer.Option(help="platform_admin, org_admin, team_admin, member or service")
    ] = "member",
    label: Annotated[list[str] | None, typer.Option(help="name=value, repeatable")] = None,
    requests_per_minute: Annotated[
        int | None,
        typer.Option(help="Limit of this key in place of ECOGATE_REQUESTS_PER_MINUTE; 0: none"),
    ] = None,
    data_dir: DataDir = Path("data"),
    as_json: AsJson = False,
) -> None:
    """Create a key and print it; it cannot be shown again."""
    from gateway.identity.subject import Role

    if role not in {one.value for one in Role}:
        raise typer.BadParameter(f"must be one of {', '.join(Role)}", param_hint="--role")
    labels = dict(_label(text) for text in label or [])

    async def issue(registry: KeyRegistry) -> dict[str, Any]:
        issued = await registry.create(
            org=org,
            team=team,
            user=user,
            labels=labels,
            role=Role(role),
            requests_per_minute=requests_per_minute,
        )
        who = {"org": org, "team": team, "user": user, "role": role}
        return {"id": issued.id, "key": issued.key, **who, "requests_per_minute": requests_per_minute}

    made = _with_registry(data_dir, issue)
    typer.echo(json.dumps(made | {"labels": labels}) if as_json else made["key"])


@app.command("list")
def listing(
    org: Annotated[str | None, typer.Option(help="Only this organisation")] = None,
    data_dir: DataDir = Path("data"),
    as_json: AsJson = False,
) -> None:
    """List keys, revoked ones too; the secrets are not kept."""

    async def read(registry: KeyRegistry) -> list[dict[str, Any]]:
        return [_row(entry) for entry in await registry.listing(org)]

    rows = _with_registry(data_dir, read)
    if as_json:
        typer.echo(json.dumps({"data": rows}))
        return
    for row in rows:
        state = "revoked" if row["revoked_at"] else "live"
        who = "/".join(str(row[name]) for name in ("org", "team", "user") if row[name])
        typer.echo(f"{row['id']}  {state:8}{row['role']:16}{who}")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id, as `list` shows it")],
    data_dir: DataDir = Path("data"),
    as_json: AsJson = False,
) -> None:
    """Revoke a key by its id; gateways notice within 5 seconds."""

    async def end(registry: KeyRegistry) -> bool:
        return await registry.revoke(key_id)

    if not _with_registry(data_dir, end):
        typer.echo("There is no such live key.", err=True)
        raise typer.Exit(1)
    typer.echo(json.dumps({"id": key_id, "revoked": True}) if as_json else f"revoked {key_id}")


def _with_registry(data_dir: Path, work: Callable[[KeyRegistry], Awaitable[T]]) -> T:
    from gateway.errors import ApiError, StoreError
    from gateway.identity.keys import pepper
    from gateway.identity.registry import KeyRegistry
    from gateway.store.sql import open_database

    settings = settings_or_exit()

    async def run() -> T:
        url = settings.database_url.get_secret_value() if settings.database_url else None
        database = await open_database(url, data_dir)
        try:
            return await work(KeyRegistry(database, pepper(data_dir, settings)))
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except (ApiError, StoreError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _label(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter("must be name=value", param_hint="--label")
    return name, value


def _row(entry: KeyEntry) -> dict[str, Any]:
    subject = entry.subject
    return {
        "id": entry.id,
        "org": subject.org,
        "team": subject.team,
        "user": subject.user,
        "labels": subject.labels,
        "role": subject.role.value,
        "requests_per_minute": subject.requests_per_minute,
        "created_at": _time(entry.created_at_ms),
        "revoked_at": _time(entry.revoked_at_ms) if entry.revoked_at_ms is not None else None,
    }


def _time(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="seconds")
