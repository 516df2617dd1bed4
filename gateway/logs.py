"""Logs as JSON, one line each, on standard error.

What is logged holds no prompt, image or credential because no caller passes any; this module only shapes
lines. Control characters are escaped by JSON.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

QUIET = ("httpx", "aiohttp", "uvicorn.access", "opentelemetry", "alembic")
"""Libraries that log every request, with its URL, or every failed export."""


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, and a traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: int = logging.INFO) -> None:
    """Sends everything from `level` up to standard error; noisy libraries only from WARNING."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
