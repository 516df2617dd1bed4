"""How commands read the settings: a wrong one is a line on standard error and exit code 2.

Invariant: no value of a setting is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gateway.settings import Settings


def settings_or_exit() -> Settings:
    """The settings of the environment. Raises `typer.Exit` after naming every variable that is wrong."""
    from pydantic import ValidationError

    from gateway.settings import Settings, variable

    try:
        return Settings()
    except ValidationError as error:
        for detail in error.errors():
            message = detail["msg"].removeprefix("Value error, ")
            typer.echo(f"{variable(str(detail['loc'][0]))}: {message}", err=True)
        raise typer.Exit(2) from None
