"""`ecogate openapi`: the published description of the API, made from the routes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def openapi(
    output: Annotated[Path | None, typer.Option(help="File to write; standard output without it")] = None,
) -> None:
    """Print the OpenAPI description of this version as YAML."""
    from gateway.app import describe

    text = describe()
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text)
    except OSError as error:
        typer.echo(f"{output} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from None
