"""The dashboard: where its static files lie and which headers must go out with them.

One page of HTML, CSS and JavaScript without a build step. It asks `/eco/v1` with a key that the reader types.
Refuses to know the web framework: the app mounts `pages().directory` at `pages().path`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

_CONTENT_SECURITY_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)


@dataclass(frozen=True, slots=True)
class Pages:
    """What to serve. Every file in `directory` is public; no file holds a secret or a number."""

    path: str
    directory: Path
    index: str
    headers: dict[str, str] = field(default_factory=dict)


def pages() -> Pages:
    """The dashboard's files, to be served at `path` with `index` for the path itself."""
    return Pages(
        path="/dashboard",
        directory=Path(__file__).parent / "static",
        index="index.html",
        headers={
            "content-security-policy": _CONTENT_SECURITY_POLICY,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cache-control": "no-cache",
        },
    )
