"""`python -m gateway` is `ecogate`."""

from gateway.cli import app

app()
