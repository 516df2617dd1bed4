"""Without an exporter a request still has a trace, which goes on as its client began it."""

from __future__ import annotations

import pytest

from gateway.telemetry import Telemetry
from gateway.telemetry.tracing import current_trace_id, failed

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_trace_of_a_client_goes_on_with_spans_of_our_own(flags: str) -> None:
    told = Telemetry.start().tracing
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}", "tracestate": "vendor=1"}

    with told.request_span("/v1/images/generations", headers, request_id="req_1"), told.span("inner") as span:
        sent = told.trace_headers()
        assert current_trace_id() == TRACE
        assert not span.is_recording()

    assert sent["tracestate"] == "vendor=1"
    version, trace_id, span_id, sampled = sent["traceparent"].split("-")
    assert (version, trace_id, sampled) == ("00", TRACE, flags)
    assert span_id == f"{span.get_span_context().span_id:016x}" != PARENT


def test_requests_without_a_trace_get_one_each() -> None:
    told = Telemetry.start().tracing
    found = []
    for number in range(2):
        with told.request_span("/v1/images/generations", {}, request_id=f"req_{number}") as span:
            failed(span, "unknown")
            with told.span("inner"):
                found.append((current_trace_id(), told.trace_headers()["traceparent"]))

    (first, sent), (second, _) = found
    assert first is not None
    assert first != second
    assert sent.startswith(f"00-{first}-")
    assert sent.endswith("-01")
    assert current_trace_id() is None
