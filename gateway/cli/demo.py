"""`ecogate demo`: everything on this machine, with stand-in image services."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="Check every step, then leave")] = False,
    port: Annotated[int, typer.Option(help="The gateway's port, if it is free")] = 8080,
) -> None:
    """Start stand-ins, the gateway and its stores, send a few requests, show what they cost."""
    try:
        from gateway.demo.run import run_demo
    except ImportError as missing:
        typer.echo(f"The demo needs {missing.name}: install ecogate[demo].", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(run_demo(leave=leave, port=port))
