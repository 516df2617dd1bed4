"""Spans that nobody reads: they have ids, so that records and services can name a trace, and keep nothing.

A process that sends its spans nowhere would otherwise spend an eighth of each request's time on writing them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

if TYPE_CHECKING:
    from opentelemetry.context import Context

_ids = RandomIdGenerator()
_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)


def start_unrecorded(_name: str, context: Context | None = None, **_about: Any) -> trace.Span:
    """A span with an id of its own in the current trace, or in a new one.

    A trace that a client began goes on as it is, sampled or not.
    """
    parent = trace.get_current_span(context).get_span_context()
    known = parent.is_valid
    return trace.NonRecordingSpan(
        trace.SpanContext(
            parent.trace_id if known else _ids.generate_trace_id(),
            _ids.generate_span_id(),
            is_remote=False,
            trace_flags=parent.trace_flags if known else _SAMPLED,
            trace_state=parent.trace_state,
        )
    )
