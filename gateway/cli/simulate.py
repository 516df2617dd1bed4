"""`ecogate simulate`: what routing would have caused on a trace, against simpler and perfect choices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def simulate(
    signals: Annotated[
        Path, typer.Option(help="CSV of the grid: zone,time,gco2_per_kwh[,water_l_per_kwh], hourly")
    ],
    requests: Annotated[Path, typer.Option(help="CSV of the traffic: time,images[,deferrable_hours]")],
    deployments: Annotated[Path, typer.Option(help="A deployments file; references need not be set")],
    history: Annotated[
        Path | None, typer.Option(help="An earlier period of --signals, known at the start")
    ] = None,
    signal_age: Annotated[
        float, typer.Option(min=0, max=24 * 365, help="How many hours late readings arrive")
    ] = 1.0,
    outage: Annotated[
        str | None, typer.Option(help="FROM/TO: a time in which no reading arrives, RFC 3339")
    ] = None,
    gateways: Annotated[int, typer.Option(min=1, max=1000)] = 1,
    seconds_per_image: Annotated[float, typer.Option(min=0.001, max=3600)] = 12.0,
    capacity: Annotated[
        int | None,
        typer.Option(min=1, help="Requests at once per deployment, instead of the file's capacity"),
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="carbon, water, weighted or static, instead of the file's")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model group; the file's first unless given")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a chart to this SVG file")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Replay a trace under even spread, a fixed choice, ecogate's policy and the optimum in hindsight."""
    from gateway.errors import ConfigError
    from gateway.simulation.plot import svg
    from gateway.simulation.simulate import Question, run

    question = Question(
        signals=signals,
        requests=requests,
        deployments=deployments,
        history=history,
        signal_age_h=signal_age,
        outage=outage,
        gateways=gateways,
        seconds_per_image=seconds_per_image,
        capacity=capacity,
        objective=objective,
        model=model,
    )
    try:
        result = run(question)
    except ConfigError as error:
        for problem in error.problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(2) from None
    if plot is not None:
        plot.write_text(svg(result), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(result.as_json()))
        return
    for line in result.lines():
        typer.echo(line)
