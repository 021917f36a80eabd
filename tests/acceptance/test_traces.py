"""One order, one trace: from the upstream's span to the mail."""

import json
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from producers.publisher import Publisher
from schemas.events import parse_event
from schemas.settings import Settings
from tests.integration.allocator_world import pending, status, wallet
from tests.servers.inbox import Inbox
from tests.servers.processes import process

Span = dict[str, Any]
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


class Upstream:
    """A service that traces what it publishes."""

    def __init__(self, publisher: Publisher, file: Path) -> None:
        self._publisher = publisher
        self._file = file.open("a")
        self._provider = TracerProvider()
        exporter = ConsoleSpanExporter(
            out=self._file, formatter=lambda span: json.dumps(json.loads(span.to_json())) + "\n"
        )
        self._provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def publish(self, document: dict[str, Any]) -> None:
        """Publish the event within a span of our own."""
        with self._provider.get_tracer("upstream").start_as_current_span("checkout"):
            carrier: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(carrier)
            await self._publisher.publish(_event(document), traceparent=carrier["traceparent"])

    def close(self) -> None:
        """Everything is in the file."""
        self._provider.shutdown()
        self._file.close()


def _event(document: dict[str, Any]) -> Any:
    return parse_event(json.dumps(document).encode()).event


async def test_an_orders_spans_are_one_trace_from_the_upstream_to_the_mail(
    settings: Settings, inbox: Inbox, tmp_path: Path
) -> None:
    files = {name: tmp_path / f"{name}.jsonl" for name in ("upstream", "allocate", "mail")}

    def traced(name: str) -> dict[str, str]:
        return {"WALLETQ_TRACES_FILE": str(files[name])}

    async with (
        Publisher(settings) as publisher,
        process("allocate", settings, env=traced("allocate")) as allocator,
        process("mail", settings, env=traced("mail")) as mailer,
    ):
        upstream = Upstream(publisher, files["upstream"])
        await publisher.publish(_event(wallet(1)))
        await upstream.publish(pending("ord-1"))
        await upstream.publish(pending("ord-2"))
        await publisher.publish(_event(pending("ord-3")), traceparent=UNSAMPLED)
        await inbox.wait_for(1)
        await upstream.publish(status("ord-1", "completed"))
        await inbox.wait_for(2)
        upstream.close()
        for running in (allocator, mailer):
            running.terminate()
            assert await running.wait() == 0
    spans = [json.loads(line) for file in files.values() for line in file.read_text().splitlines()]
    first, waited, release = [span for span in spans if span["name"] == "checkout"]

    mine = _under(spans, first)
    assert [_said(span) for span in mine] == [
        ("walletq-allocate", "process"),
        ("walletq-allocate", "assign"),
        ("walletq-allocate", "publish"),
        ("walletq-mail", "claim"),
        ("walletq-mail", "send"),
    ]
    assert {span["attributes"]["walletq.order_id"] for span in mine} == {"ord-1"}
    assert mine[-1]["attributes"]["walletq.outcome"] == "sent"
    assert all(first["start_time"] <= span["start_time"] <= span["end_time"] for span in mine)

    later = _under(spans, waited)
    assert [name for _, name in map(_said, later)] == ["process", "assign", "publish", "claim", "send"]
    (link,) = later[1]["links"]
    assert link["context"]["trace_id"] == release["context"]["trace_id"]
    assert later[1]["attributes"]["walletq.waited"] is True

    assert [name for _, name in map(_said, _under(spans, release))] == ["process"]
    assert len({span["context"]["trace_id"] for span in spans}) == 3  # what is not sampled has none
    text = "".join(file.read_text() for file in files.values())
    assert "@example" not in text


def _under(spans: list[Span], parent: Span) -> list[Span]:
    """The children of a span of another service, in the order in which they began; all are of one trace."""
    trace = parent["context"]["trace_id"]
    children = [span for span in spans if span["context"]["trace_id"] == trace and span is not parent]
    assert {span["parent_id"] for span in children} <= {parent["context"]["span_id"]}
    return sorted(
        children, key=lambda span: (span["start_time"], span["end_time"] if span["name"] != "process" else "")
    )


def _said(span: Span) -> tuple[str, str]:
    return span["resource"]["attributes"]["service.name"], span["name"]
