"""Traces: what makes a span, and where it goes."""

import json
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from embedded.ports import HOST
from monitoring.http import serving
from monitoring.traces import SpanKind, Traces, open_traces
from schemas.settings import Settings, SettingsError

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
CAUSE = "00-11111111111111111111111111111111-2222222222222222-01"


def tell(traces: Traces | None, traceparent: str | None, **more: Any) -> None:
    assert traces is not None
    now = time.perf_counter_ns()
    traces.span("assign", SpanKind.INTERNAL, traceparent, now - 5_000_000, now, {"walletq.order_id": "ord-1"}, **more)


def written(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_span_is_the_child_of_what_the_record_names(tmp_path: Path) -> None:
    traces = open_traces("allocate", Settings(traces_file=tmp_path / "traces"))
    tell(traces, SAMPLED, link=CAUSE)
    tell(traces, SAMPLED, link=SAMPLED)
    assert traces is not None
    traces.close()
    first, second = written(tmp_path / "traces")
    assert (first["context"]["trace_id"], first["parent_id"]) == (f"0x{TRACE}", f"0x{PARENT}")
    assert [link["context"]["trace_id"] for link in first["links"]] == [f"0x{CAUSE[3:35]}"]
    assert second["links"] == []  # its own trace is no cause
    assert first["resource"]["attributes"] == {"service.name": "walletq-allocate"}


@pytest.mark.parametrize(
    "traceparent",
    [None, SAMPLED[:-2] + "00", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01"],
    ids=["none", "not sampled", "no trace", "no parent"],
)
def test_a_record_that_asks_for_no_trace_has_none(tmp_path: Path, traceparent: str | None) -> None:
    traces = open_traces("allocate", Settings(traces_file=tmp_path / "traces"))
    tell(traces, traceparent)
    assert traces is not None
    traces.close()
    assert written(tmp_path / "traces") == []


def test_a_backlog_is_traced_whole_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    for variable, value in {
        "OTEL_BSP_MAX_QUEUE_SIZE": "512",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1000000",
        "OTEL_BSP_SCHEDULE_DELAY": "0",
        "OTEL_BSP_EXPORT_TIMEOUT": "never",
        "OTEL_SPAN_LINK_COUNT_LIMIT": "0",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "0",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "none",
    }.items():
        monkeypatch.setenv(variable, value)
    traces = open_traces("allocate", Settings(traces_file=tmp_path / "traces"))
    for _ in range(7_000):
        tell(traces, SAMPLED, link=CAUSE)
    assert traces is not None
    traces.close()
    spans = written(tmp_path / "traces")
    assert len(spans) == 7_000
    assert all(span["links"] and span["attributes"] for span in spans)


def test_spans_are_added_to_what_the_file_has(tmp_path: Path) -> None:
    (tmp_path / "traces").write_text('{"name": "older"}\n')
    traces = open_traces("mail", Settings(traces_file=tmp_path / "traces"))
    tell(traces, SAMPLED)
    assert traces is not None
    traces.close()
    assert [span["name"] for span in written(tmp_path / "traces")] == ["older", "assign"]


def test_a_collector_gets_them_by_otlp() -> None:
    got: list[tuple[str, ExportTraceServiceRequest]] = []

    def collector(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        got.append((environ["PATH_INFO"], ExportTraceServiceRequest.FromString(body)))
        start_response("200 OK", [("Content-Type", "application/x-protobuf")])
        return [b""]

    with serving(HOST, 0, collector) as port:
        traces = open_traces("mail", Settings(traces_otlp_endpoint=f"http://{HOST}:{port}"))
        tell(traces, SAMPLED)
        assert traces is not None
        traces.close()
    ((path, request),) = got
    assert path == "/v1/traces"
    (span,) = request.resource_spans[0].scope_spans[0].spans
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("assign", TRACE, PARENT)


def test_a_collector_that_is_away_holds_up_no_stop(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    traces = open_traces("mail", Settings(traces_otlp_endpoint=f"http://{HOST}:1"))
    tell(traces, SAMPLED)
    assert traces is not None
    began = time.monotonic()
    traces.close()
    assert time.monotonic() - began < 4


def test_a_file_that_cannot_be_written_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"WALLETQ_TRACES_FILE: .* cannot be written"):
        open_traces("mail", Settings(traces_file=tmp_path / "nowhere" / "traces"))


def test_nothing_is_opened_where_nobody_asks() -> None:
    assert open_traces("mail", Settings()) is None
