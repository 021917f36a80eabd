"""What an allocator tells its monitor: metrics of each batch, spans of what is traced, samples of its owners."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from time import perf_counter_ns

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumers.allocator.owner import Owner
from consumers.allocator.ports import Publisher
from consumers.allocator.state import Applied, KeptDeadLetter, Notification, Reason
from consumers.ends import ends_of
from monitoring.monitor import Monitor
from monitoring.samples import PartitionSample, Sample
from monitoring.traces import SpanKind, Traces
from schemas.events import OrderStatusChanged
from schemas.topics import Names

SECOND = 1_000_000_000
"In nanoseconds."


class Watch:
    """Tells a monitor."""

    def __init__(self, monitor: Monitor, names: Names) -> None:
        self._monitor = monitor
        self._names = names
        metrics = monitor.metrics
        self._outcomes = [
            metrics.events.labels(names.orders, outcome) for outcome in ("applied", "no_effect", "dead_letter")
        ]
        for reason in Reason:  # from 0 on, or the first of a kind would be no rise
            metrics.dead_letters.labels(names.orders, reason.value)
        self._steps = {step: metrics.step_seconds.labels(step) for step in ("gather", "decide", "apply", "publish")}

    def following(
        self, consumer: AIOKafkaConsumer, owners: Mapping[TopicPartition, Owner]
    ) -> AbstractContextManager[None]:
        """Let the monitor follow the owners, those that come later too, while the block runs."""

        def sample() -> Sample:
            return Sample(partitions=tuple(_sample(tp, owner) for tp, owner in sorted(owners.items())))

        return self._monitor.following(sample, lambda: ends_of(consumer, list(owners)))

    def applied(self, applied: Applied) -> None:
        """Count a batch, and trace what is to be traced of it."""
        counts = applied.changes.counts
        for child, count in zip(self._outcomes, counts[:3], strict=True):
            child.inc(count)
        metrics = self._monitor.metrics
        metrics.batch_records.observe(len(applied.batch.entries))
        self._steps["gather"].observe((applied.gathered_ns - applied.began_ns) / SECOND)
        self._steps["decide"].observe((applied.decided_ns - applied.gathered_ns) / SECOND)
        self._steps["apply"].observe((applied.applied_ns - applied.decided_ns) / SECOND)
        for reason, count in Counter(refusal.reason.value for _, refusal in applied.changes.dead_letters).items():
            metrics.dead_letters.labels(self._names.orders, reason).inc(count)
        if self._monitor.traces is not None:
            _trace(self._monitor.traces, self._names.orders, applied)

    def watched(self, outbox: Publisher) -> Publisher:
        """The outbox, which tells how long it takes."""
        return _WatchedOutbox(outbox, self._published)

    def _published(self, kept: list[Notification | KeptDeadLetter], began_ns: int, ended_ns: int) -> None:
        self._steps["publish"].observe((ended_ns - began_ns) / SECOND)
        if (traces := self._monitor.traces) is None:
            return
        for one in kept:
            if isinstance(one, Notification) and one.traceparent:
                attributes = _place(self._names.notifications) | {"walletq.order_id": one.assignment.order_id}
                traces.span("publish", SpanKind.PRODUCER, one.traceparent, began_ns, ended_ns, attributes)


class _WatchedOutbox:
    def __init__(
        self, outbox: Publisher, published: Callable[[list[Notification | KeptDeadLetter], int, int], None]
    ) -> None:
        self._outbox = outbox
        self._published = published

    async def publish(self, partition: int, kept: Iterable[Notification | KeptDeadLetter]) -> None:
        kept = list(kept)
        began_ns = perf_counter_ns()
        await self._outbox.publish(partition, kept)
        if kept:
            self._published(kept, began_ns, perf_counter_ns())


def _sample(tp: TopicPartition, owner: Owner) -> PartitionSample:
    return PartitionSample(
        tp.topic, tp.partition, owner.step, owner.next_offset, owner.published_offset, owner.holding, owner.error
    )


def _trace(traces: Traces, topic: str, applied: Applied) -> None:
    """A span for each traced record, and for each order that got its wallet by another's: that one links to it."""
    causes = {}
    refused = {letter.entry.offset: letter.refusal.reason.value for letter in applied.changes.dead_letters}
    for entry in applied.batch.entries:
        if entry.traceparent is None:
            continue
        causes[entry.offset] = entry.traceparent
        attributes = _place(topic, entry.offset)
        if isinstance(entry.event, OrderStatusChanged):
            attributes |= {"walletq.order_id": entry.event.order_id, "walletq.status": entry.event.status}
        if reason := refused.get(entry.offset):
            attributes |= {"walletq.dead_letter": reason}
        moments = (applied.began_ns, applied.applied_ns)
        traces.span("process", SpanKind.CONSUMER, entry.traceparent, *moments, attributes, failed=reason is not None)
    for assignment, _, _, traceparent in applied.changes.notifications:
        if traceparent is not None:
            attributes = _place(topic, assignment.assigned_offset) | {
                "walletq.order_id": assignment.order_id,
                "walletq.waited": assignment.waited,
            }
            link = causes.get(assignment.assigned_offset)
            moments = (applied.gathered_ns, applied.applied_ns)
            traces.span("assign", SpanKind.INTERNAL, traceparent, *moments, attributes, link=link)


def _place(topic: str, offset: int | None = None) -> dict[str, str | int | bool]:
    place: dict[str, str | int | bool] = {"messaging.system": "kafka", "messaging.destination.name": topic}
    return place if offset is None else place | {"messaging.kafka.offset": offset}
