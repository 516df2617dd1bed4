"""`ecogate check`: every mistake in the files that users write, at once, without network or environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def check(
    deployments: Annotated[
        Path | None, typer.Option(envvar="ECOGATE_DEPLOYMENTS", help="The deployments file")
    ] = None,
    policies: Annotated[
        Path | None, typer.Option(envvar="ECOGATE_POLICIES", help="The folder of budgets")
    ] = None,
    factors: Annotated[
        Path | None, typer.Option(envvar="ECOGATE_FACTORS", help="Factors over the bundled ones")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Problems as JSON")] = False,
) -> None:
    """Check policies, deployments and the bundled factors; exit 1 when something is wrong."""
    from datetime import UTC, datetime

    from gateway import checks

    problems = checks.check(policies, deployments, factors, year=datetime.now(UTC).year)
    if as_json:
        rows = [
            {"file": one.file, "line": one.line, "column": one.column, "message": one.message}
            for one in problems
        ]
        typer.echo(json.dumps({"problems": rows}))
    else:
        for problem in problems:
            typer.echo(str(problem), err=True)
        if not problems:
            checked = [str(path) for path in (deployments, policies, factors) if path is not None]
            typer.echo(f"no problems in {', '.join([*checked, 'the bundled factors'])}")
    raise typer.Exit(1 if problems else 0)
