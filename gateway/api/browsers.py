"""What pages of other origins may do: nothing, unless their origins are configured.

Then the stock JavaScript client works in a browser: its headers may be sent, ours may be read.
"""

from __future__ import annotations

from litestar.config.cors import CORSConfig

from gateway.api.responses import HEADERS

SENT = (
    "authorization", "api-key", "content-type", "openai-organization", "openai-project",
    "idempotency-key", "ecogate-include",
    "ecogate-deadline", "ecogate-allow-downgrade", "x-stainless-arch", "x-stainless-lang", "x-stainless-os",
    "x-stainless-package-version", "x-stainless-retry-count", "x-stainless-runtime",
    "x-stainless-runtime-version", "x-stainless-timeout",
)  # fmt: skip
OF_SERVICES = tuple(
    f"x-ratelimit-{figure}-{unit}"
    for figure in ("limit", "remaining", "reset")
    for unit in ("requests", "tokens", "images")
)
READ = ("x-request-id", "retry-after", "x-should-retry", "openai-processing-ms", *OF_SERVICES, *HEADERS)


def cors(origins: str) -> CORSConfig | None:
    """The rules for a comma-separated list of origins; `None` for an empty one."""
    listed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    if not listed:
        return None
    return CORSConfig(
        allow_origins=listed,
        allow_methods=["GET", "HEAD", "POST", "OPTIONS"],
        allow_headers=list(SENT),
        expose_headers=list(READ),
        allow_credentials=False,
        max_age=600,
    )
