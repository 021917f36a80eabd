"""Traces: the spans of an order under the trace context that its upstream has sent with it.

A record without a `traceparent`, or with one that is not sampled, makes no span: whether and how often to trace is the
upstream's to decide. The header is passed on as it came, so all spans of an order are children of the upstream's.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from schemas.settings import Settings, SettingsError

SAMPLED = 1
EXPORT_SECONDS = 2.0
"The longest that a collector is waited for, also at the stop."
MOST_SPANS = 32_768
"Wait for their export at most: two of the largest batches (4,000 orders of 3 spans) come at once and fit."
EXPORTED_SPANS = 512
"Go out at once, at most."
EXPORT_EVERY_SECONDS = 5.0
NO_LIMITS = SpanLimits(
    max_attributes=SpanLimits.UNSET,
    max_events=SpanLimits.UNSET,
    max_links=SpanLimits.UNSET,
    max_span_attributes=SpanLimits.UNSET,
    max_event_attributes=SpanLimits.UNSET,
    max_link_attributes=SpanLimits.UNSET,
    max_attribute_length=SpanLimits.UNSET,
    max_span_attribute_length=SpanLimits.UNSET,
)
"What spans hold is ours alone, and bounded."
Attributes = Mapping[str, str | int | bool]

__all__ = ["SpanKind", "Traces", "open_traces"]


class Traces:
    """Makes spans of what has already happened."""

    def __init__(self, process: str, exporters: list[SpanExporter]) -> None:
        # The environment is no source of settings: what is left out here, the SDK would read from it, as OTEL_….
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource({"service.name": f"walletq-{process}"}),
            span_limits=NO_LIMITS,
            shutdown_on_exit=False,
        )
        for exporter in exporters:
            self._provider.add_span_processor(
                BatchSpanProcessor(
                    exporter,
                    max_queue_size=MOST_SPANS,
                    schedule_delay_millis=EXPORT_EVERY_SECONDS * 1_000,
                    max_export_batch_size=EXPORTED_SPANS,
                    export_timeout_millis=EXPORT_SECONDS * 1_000,
                )
            )
        self._tracer = self._provider.get_tracer("walletq")
        # Spans are told in wall-clock time, of moments that were taken by the clock that never jumps.
        self._epoch_ns = time.time_ns() - time.perf_counter_ns()

    def span(
        self,
        name: str,
        kind: SpanKind,
        traceparent: str | None,
        began_ns: int,
        ended_ns: int,
        attributes: Attributes,
        *,
        link: str | None = None,
        failed: bool = False,
    ) -> None:
        """A span from one moment to another.

        Args:
            traceparent: of the parent; where it is None, or not sampled, nothing happens.
            began_ns, ended_ns: as time.perf_counter_ns has them.
            link: the trace context of what led to it, where that is another's.
        """
        parent = _context(traceparent)
        if parent is None:
            return
        cause = _context(link) if link != traceparent else None
        span = self._tracer.start_span(
            name,
            context=set_span_in_context(NonRecordingSpan(parent)),
            kind=kind,
            attributes=dict(attributes),
            links=[Link(cause)] if cause else [],
            start_time=self._epoch_ns + began_ns,
        )
        if failed:
            span.set_attribute("error.type", "failed")
        span.end(self._epoch_ns + ended_ns)

    def close(self) -> None:
        """Export what is left; a collector that does not answer is not waited for, for long."""
        self._provider.shutdown()


def open_traces(process: str, settings: Settings) -> Traces | None:
    """What the settings ask for; None where that is nothing.

    Raises:
        SettingsError: WALLETQ_TRACES_FILE cannot be written.
    """
    exporters: list[SpanExporter] = []
    if settings.traces_otlp_endpoint is not None:
        exporters.append(
            OTLPSpanExporter(f"{settings.traces_otlp_endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        )
    if settings.traces_file is not None:
        exporters.append(_file_exporter(settings.traces_file))
    return Traces(process, exporters) if exporters else None


def _file_exporter(path: Path) -> SpanExporter:
    try:
        file = path.open("a")
    except OSError as error:
        raise SettingsError(f"WALLETQ_TRACES_FILE: {path} cannot be written: {error.strerror}") from None
    return ConsoleSpanExporter(out=file, formatter=_as_line)


def _as_line(span: ReadableSpan) -> str:
    line: str = span.to_json(indent=None)
    return line + "\n"


def _context(traceparent: str | None) -> SpanContext | None:
    if traceparent is None:
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return context if context.is_valid and context.trace_flags & SAMPLED else None
