"""What a mailer tells its monitor: metrics, spans of what is traced, samples of its parts."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumers.ends import ends_of
from consumers.mailer.deliveries import Settled
from consumers.mailer.dispatch import Dispatcher
from consumers.mailer.endings import GIVE_BACK, Dossier
from consumers.mailer.gate import Gate
from consumers.mailer.intake import Intake
from consumers.mailer.notices import INVALID_EVENT, MAIL_REFUSED, UNKNOWN_ASSIGNMENT, Changes
from consumers.mailer.verdicts import Kind, Phase, Verdict
from monitoring.monitor import Monitor
from monitoring.samples import MailSample, PartitionSample, Sample
from monitoring.traces import SpanKind


class Watch:
    """Tells a monitor."""

    def __init__(self, monitor: Monitor, topic: str) -> None:
        self._monitor = monitor
        self._topic = topic
        for reason in (INVALID_EVENT, UNKNOWN_ASSIGNMENT, MAIL_REFUSED):  # from 0 on, or the first would be no rise
            monitor.metrics.dead_letters.labels(topic, reason)
        self._phases = {phase: monitor.metrics.smtp_phase_seconds.labels(phase.name.lower()) for phase in Phase}

    def following(
        self, consumer: AIOKafkaConsumer, intake: Intake, dispatcher: Dispatcher, gate: Gate
    ) -> AbstractContextManager[None]:
        """Let the monitor follow these while the block runs."""

        def sample() -> Sample:
            partitions = [
                PartitionSample(
                    self._topic,
                    partition,
                    "take_place" if place is None else "take",
                    place,
                    in_hand=intake.taking,
                    error=intake.error,
                )
                for partition, place in sorted(intake.places.items())
            ]
            mail = MailSample(
                dispatcher.turns,
                dispatcher.in_flight,
                dispatcher.lease_seconds,
                gate.refusals,
                gate.probe_in,
                dispatcher.silent_seconds,
                dispatcher.error,
            )
            return Sample(partitions=tuple(partitions), mail=mail)

        return self._monitor.following(
            sample, lambda: ends_of(consumer, [TopicPartition(self._topic, one) for one in intake.places])
        )

    def taken(self, changes: Changes) -> None:
        """Count what the intake has written."""
        metrics = self._monitor.metrics
        for outcome in ("applied", "no_effect", "dead_letters"):
            count = sum(getattr(step, outcome) for step in changes.steps)
            metrics.events.labels(self._topic, outcome.removesuffix("s")).inc(count)
        for letter in changes.dead_letters:
            metrics.dead_letters.labels(self._topic, letter.reason).inc()

    def phase(self, phase: Phase, seconds: float) -> None:
        """A phase of an SMTP dialogue is over."""
        self._phases[phase].observe(seconds)

    def attempted(self, dossier: Dossier, verdict: Verdict, claimed_at: float, began_at: float) -> None:
        """See dispatch.Watch."""
        if verdict.kind is Kind.SERVER_REFUSES:
            self._monitor.metrics.mail_server_refusals.inc()
        traces = self._monitor.traces
        if traces is None or dossier.traceparent is None:
            return
        ended_ns, ended_at = time.perf_counter_ns(), time.monotonic()
        claimed_ns, began_ns = (ended_ns - round((ended_at - at) * 1e9) for at in (claimed_at, began_at))
        attributes: dict[str, str | int | bool] = {
            "walletq.order_id": dossier.order_id,
            "walletq.attempt": dossier.attempts + 1,
        }
        traces.span("claim", SpanKind.INTERNAL, dossier.traceparent, claimed_ns, began_ns, attributes)
        failed = verdict.kind is not Kind.SENT
        attributes |= {"walletq.outcome": verdict.kind.value, "walletq.smtp.phase": verdict.phase.name.lower()}
        traces.span("send", SpanKind.CLIENT, dossier.traceparent, began_ns, ended_ns, attributes, failed=failed)

    def settled(self, batch: Sequence[Settled]) -> None:
        """See dispatch.Watch."""
        metrics = self._monitor.metrics
        for state, count in Counter(one.ending.state for one in batch if one.ending is not GIVE_BACK).items():
            metrics.delivery_attempts.labels(state).inc(count)
        for one in batch:
            if one.dead_letter is not None:
                metrics.dead_letters.labels(self._topic, one.dead_letter.reason).inc()
