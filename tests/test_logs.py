"""What goes to standard error: one JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

from gateway.logs import QUIET, JsonLines, configure

if TYPE_CHECKING:
    import pytest


def test_a_line_is_one_json_object_whatever_the_message_holds() -> None:
    record = logging.LogRecord("gateway.x", logging.WARNING, "x.py", 1, "two\nlines %s", ('"é"',), None)
    record.created = 1_000_000_000.25

    line = JsonLines().format(record)

    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2001-09-09T01:46:40.250+00:00",
        "level": "warning",
        "logger": "gateway.x",
        "message": 'two\nlines "é"',
    }


def test_a_failure_has_its_traceback_on_the_same_line() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), sys.exc_info())

    assert "ValueError: wrong" in json.loads(JsonLines().format(record))["traceback"]


def test_libraries_that_log_each_request_are_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    loggers = [logging.getLogger(name) for name in QUIET]
    for logger in loggers:
        monkeypatch.setattr(logger, "level", logging.NOTSET)

    configure()

    assert not any(logger.isEnabledFor(logging.INFO) for logger in loggers)
    assert logging.getLogger("gateway").isEnabledFor(logging.INFO)
