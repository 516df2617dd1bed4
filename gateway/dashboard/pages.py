"""The pages for people: where their static files lie and which headers must go out with them.

HTML, CSS and JavaScript without a build step. The dashboard asks `/eco/v1` with a key that the reader types;
the documentation page draws the API's description. Refuses to know the web framework: the app mounts
`pages().directory` at `pages().path` and serves `documentation()` where the description is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

_STATIC = Path(__file__).parent / "static"
_NO_FRAMES = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_OTHER_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Pages:
    """What to serve. Every file in `directory` is public; no file holds a secret or a number."""

    path: str
    directory: Path
    index: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Documentation:
    """The page about the API, which loads its parts from the dashboard's files."""

    path: str
    page: Path
    headers: dict[str, str] = field(default_factory=dict)


def pages() -> Pages:
    """The dashboard's files, to be served at `path` with `index` for the path itself."""
    policy = f"default-src 'self'; {_NO_FRAMES}; require-trusted-types-for 'script'"
    return Pages(
        path="/dashboard",
        directory=_STATIC,
        index="index.html",
        headers={"content-security-policy": policy, **_OTHER_HEADERS},
    )


def documentation() -> Documentation:
    """The page about the API. Swagger UI writes markup and draws with data: pictures."""
    policy = f"default-src 'self'; img-src 'self' data:; {_NO_FRAMES}"
    return Documentation(
        path="/docs",
        page=_STATIC / "docs.html",
        headers={"content-security-policy": policy, **_OTHER_HEADERS},
    )
