"""The `ecogate` command: one file per verb, heavy imports inside the verbs."""

from __future__ import annotations

import typer

from gateway.cli import (
    check,
    demo,
    estimate,
    explain,
    keys,
    ledger,
    openapi,
    policies,
    raises,
    report,
    schema,
    serve,
    simulate,
    usage,
)

app = typer.Typer(
    name="ecogate",
    help="A gateway that prices, budgets and routes image generation in energy, water and carbon.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("estimate")(estimate.estimate)
app.command("explain")(explain.explain)
app.command("simulate")(simulate.simulate)
app.command("report")(report.report)
app.command("usage")(usage.usage)
app.command("openapi")(openapi.openapi)
app.command("schema")(schema.schema)
app.add_typer(keys.app, name="keys")
app.add_typer(ledger.app, name="ledger")
app.add_typer(policies.app, name="policies")
app.add_typer(raises.app, name="raises")
