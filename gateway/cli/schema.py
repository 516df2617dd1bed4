"""`ecogate schema`: what the files that users write may hold, for editors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class FileKind(StrEnum):
    """Which file."""

    POLICIES = "policies"
    DEPLOYMENTS = "deployments"


def schema(
    kind: Annotated[FileKind, typer.Argument(help="policies or deployments")],
    output: Annotated[Path | None, typer.Option(help="File to write; standard output without it")] = None,
) -> None:
    """Print the JSON Schema of policy files or of the deployments file; editors complete by it."""
    from gateway.file_schemas import as_text

    text = as_text(kind.value)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        typer.echo(f"{output} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(1) from None
