"""Asking a running gateway, as the verbs do that show or change something there.

Knows how a gateway is asked, and what is said when it does not answer or refuses. Refuses to know routes.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = "http://127.0.0.1:8080"
TIMEOUT_S = 60.0

Url = Annotated[str, typer.Option(envvar="ECOGATE_URL", help="The gateway")]
AsJson = Annotated[bool, typer.Option("--json", help="The answer of the API as it is")]


def asked(
    url: str,
    path: str,
    key: str,
    *,
    method: str = "GET",
    params: Mapping[str, str | list[str] | None] | None = None,
    body: bytes | dict[str, Any] | None = None,
    failed: int = 1,
) -> dict[str, Any]:
    """The answer, asked without `params` that are None; where there is none the command ends with code
    `failed`."""
    import httpx

    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    try:
        answer = httpx.request(
            method,
            f"{url.rstrip('/')}{path}",
            params={name: value for name, value in (params or {}).items() if value},
            headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
            trust_env=False,
            timeout=TIMEOUT_S,
            **content,
        )
        found: dict[str, Any] = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        typer.echo(f"The gateway at {url} did not answer: {error}", err=True)
        raise typer.Exit(failed) from None
    if not answer.is_success:
        where = f" It was shown to {url}." if answer.status_code == HTTPStatus.UNAUTHORIZED else ""
        typer.echo(found["error"]["message"] + where, err=True)
        raise typer.Exit(failed)
    return found
