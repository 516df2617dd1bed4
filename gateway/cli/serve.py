"""`ecogate serve`: the gateway itself, on uvicorn."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.configured import settings_or_exit
from gateway.errors import ConfigError, StoreError

KEEP_ALIVE_S = 75
"""Longer than any stock client keeps an idle connection, so that the gateway is never the first to close."""


def serve(
    host: Annotated[str, typer.Option(envvar="ECOGATE_HOST", help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="ECOGATE_PORT", min=0, max=65535)] = 8080,
    workers: Annotated[int, typer.Option(envvar="ECOGATE_WORKERS", min=1, max=64, help="Processes")] = 1,
    deployments: Annotated[
        Path | None,
        typer.Option(envvar="ECOGATE_DEPLOYMENTS", help="YAML file of what work is sent to"),
    ] = None,
    policies: Annotated[
        Path | None, typer.Option(envvar="ECOGATE_POLICIES", help="Folder of budgets as YAML")
    ] = None,
    factors: Annotated[
        Path | None,
        typer.Option(envvar="ECOGATE_FACTORS", help="YAML file (or folder) of factors over the bundled ones"),
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(envvar="ECOGATE_DATA_DIR", help="Embedded Valkey, SQLite and the key pepper")
    ] = Path("data"),
) -> None:
    """Serve the OpenAI Images API with footprints, eco budgets and carbon-aware routing.

    Without --deployments it sends to OpenAI with OPENAI_API_KEY. ECOGATE_REDIS_URL and ECOGATE_DATABASE_URL
    name real servers; without them an embedded Valkey and SQLite keep everything in the data directory.
    """
    import uvicorn

    from gateway import logs
    from gateway.cli.connection import Connection
    from gateway.configuration import read_configuration
    from gateway.store.valkey import EmbeddedValkey

    options = {
        "HOST": host,
        "PORT": port,
        "WORKERS": workers,
        "DEPLOYMENTS": deployments,
        "POLICIES": policies,
        "FACTORS": factors,
        "DATA_DIR": data_dir.absolute(),
    }
    # Worker processes read the same settings from the environment.
    os.environ |= {f"ECOGATE_{name}": str(value) for name, value in options.items() if value is not None}
    logs.configure()
    settings = settings_or_exit()
    try:
        read_configuration(settings)
        embedded = None
        if settings.redis_url is None:
            embedded = EmbeddedValkey.start(settings.data_dir, binary=settings.redis_server_bin)
            os.environ["ECOGATE_REDIS_URL"] = embedded.url
    except (ConfigError, StoreError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    # uvicorn raises the signal that ended it once more; ours must not end the process before the store stops.
    signal.signal(signal.SIGTERM, _already_handled)
    try:
        uvicorn.run(
            "gateway.app:serving",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(settings.drain_s),
            http=Connection,
            ws="none",
        )
    finally:
        if embedded is not None:
            embedded.stop()


def _already_handled(*_: object) -> None:
    """The server has drained by now."""
