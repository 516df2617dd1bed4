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
    replacing: Annotated[
        Path | None,
        typer.Option(help="The folder that is in force: tells which budgets would start at zero now"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Problems as JSON")] = False,
) -> None:
    """Check policies, deployments and the bundled factors; exit 1 when something is wrong.

    With --replacing, also tells which budgets would start at zero in the middle of their window, because
    their name, scope or window differs from what is in force; that is no mistake.
    """
    from datetime import UTC, datetime

    from gateway import checks
    from gateway.errors import ConfigError

    if replacing is not None and policies is None:
        raise typer.BadParameter("needs --policies, to which it is compared", param_hint="--replacing")
    now = datetime.now(UTC)
    problems = checks.check(policies, deployments, factors, year=now.year)
    found = []
    if replacing is not None and policies is not None and not problems:
        try:
            found = checks.restarting(replacing, policies, now)
        except ConfigError as error:
            problems = error.problems
    if as_json:
        rows = [
            {"file": one.file, "line": one.line, "column": one.column, "message": one.message}
            for one in problems
        ]
        told = [
            {"budget": one.budget, "file": one.file, "line": one.line, "message": str(one)} for one in found
        ]
        typer.echo(json.dumps({"problems": rows, **({"restarts": told} if replacing is not None else {})}))
    else:
        for problem in problems:
            typer.echo(str(problem), err=True)
        if not problems:
            checked = [str(path) for path in (deployments, policies, factors) if path is not None]
            typer.echo(f"no problems in {', '.join([*checked, 'the bundled factors'])}")
        for restart in found:
            typer.echo(str(restart))
    raise typer.Exit(1 if problems else 0)
