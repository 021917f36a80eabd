"""Every metric, by name. docs/monitoring.md tells of them, deploy/ uses them, and a test holds these together.

What is counted as it happens is counted for a batch or a mail, never for an event. What is a state (lag, pools, health)
is read from the last history when somebody asks; what is not known has no sample, since unknown is not zero.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from monitoring.following import History, PartitionKey
from monitoring.pools import Tables
from monitoring.samples import End
from monitoring.verdict import Limits, Problem, judge, stalled_seconds, unpublished_seconds

STEP_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
SMTP_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
RECORDS = (1, 3, 10, 30, 100, 300, 1_000, 2_000, 4_000, 10_000)


class Metrics:
    """The registry of a process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.events = Counter(
            "walletq_events",
            "Records, by what became of them: applied, no_effect or dead_letter.",
            ["topic", "outcome"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "walletq_dead_letters", "Records that were refused, by reason.", ["topic", "reason"], registry=registry
        )
        self.batch_records = Histogram(
            "walletq_batch_records", "Records in a batch of the allocator.", buckets=RECORDS, registry=registry
        )
        self.step_seconds = Histogram(
            "walletq_step_seconds",
            "Seconds that a step takes: of a batch gather, decide, apply; of what goes out together publish.",
            ["step"],
            buckets=STEP_SECONDS,
            registry=registry,
        )
        self.delivery_attempts = Counter(
            "walletq_delivery_attempts",
            "Attempts at mails, by the state in which they left the delivery; due: to be tried again.",
            ["state"],
            registry=registry,
        )
        self.smtp_phase_seconds = Histogram(
            "walletq_smtp_phase_seconds",
            "Seconds that a phase of an SMTP dialogue takes.",
            ["phase"],
            buckets=SMTP_SECONDS,
            registry=registry,
        )
        self.mail_server_refusals = Counter(
            "walletq_mail_server_refusals",
            "How often the mail server has refused us, not a mail of ours.",
            registry=registry,
        )
        self.clock_events = Counter(
            "walletq_clock_events", "Events that the clock has published.", ["type"], registry=registry
        )


class States(Collector):
    """The metrics that are states."""

    def __init__(
        self,
        process: str,
        history: Callable[[], History],
        tables: Callable[[], Tables | None],
        ends: Callable[[], Mapping[PartitionKey, End]],
        limits: Limits,
    ) -> None:
        """Args:
        process: allocate, mail or clock.
        history: the last one.
        tables: what was last read of the database's tables; None where that is nothing, or too long ago.
        ends: where Kafka's partitions end; without those that are not known.
        """
        self._process = process
        self._history = history
        self._tables = tables
        self._ends = ends
        self._limits = limits

    def collect(self) -> Iterator[Metric]:
        """All of them, those without samples too."""
        now = time.monotonic()
        history = self._history()
        yield from self._of_process(history, now)
        yield from _of_partitions(history, now)
        yield from _of_mail(history)
        tables = self._tables()
        yield from _of_tables(tables, history)
        yield from _of_topics(tables, self._ends())

    def _of_process(self, history: History, now: float) -> Iterator[Metric]:
        verdict = judge(history, now, self._limits)
        found = {one.problem for one in verdict.findings}
        info = _gauge("walletq_info", "Which process this is, and of which version.", "process", "version")
        info.add_metric([self._process, version("walletq")], 1)
        yield info
        yield _single("walletq_alive", "Whether the process makes progress; where not, restart it.", verdict.alive)
        yield _single("walletq_ready", "Whether the process does its work.", verdict.ready)
        problems = _gauge("walletq_problem", "Whether the process has this problem; see /progress.", "problem")
        for problem in Problem:
            problems.add_metric([problem], problem in found)
        yield problems
        up = _gauge("walletq_server_up", "Whether the server answers; no sample before it was asked.", "server")
        for name, answer in history.servers.items():
            if answer is not None:
                up.add_metric([name], answer.error is None)
        yield up
        looks = _gauge("walletq_clock_looks", "How often the clock has looked at what has expired since its start.")
        if history.clock is not None:
            looks.add_metric([], history.clock.looks)
        yield looks


def _of_partitions(history: History, now: float) -> Iterator[Metric]:
    keys = ("topic", "partition")
    lag = _gauge("walletq_partition_lag_records", "Records, and markers, that are not applied.", *keys)
    place = _gauge("walletq_partition_next_offset", "The first record that is not applied.", *keys)
    stalled = _gauge("walletq_partition_stalled_seconds", "For how long there is work and no progress.", *keys)
    outbox = _gauge("walletq_outbox_age_seconds", "For how long something is committed and nothing published.", *keys)
    for one in history.partitions:
        labels = [one.sample.topic, str(one.sample.partition)]
        if one.sample.next_offset is not None:
            place.add_metric(labels, one.sample.next_offset)
        if one.lag is not None:
            lag.add_metric(labels, one.lag)
        if (stands := stalled_seconds(one, now)) is not None:
            stalled.add_metric(labels, stands)
        if one.sample.published_offset is not None:
            outbox.add_metric(labels, unpublished_seconds(one, now))
    yield from (lag, place, stalled, outbox)


def _of_mail(history: History) -> Iterator[Metric]:
    mail = history.mail
    is_open = _gauge("walletq_mail_gate_open", "Whether mails may go out: 0 while the mail server refuses us.")
    in_flight = _gauge("walletq_mails_in_flight", "Deliveries that the mailer has claimed.")
    silent = _gauge("walletq_mail_server_silent_seconds", "For how long no attempt was answered.")
    if mail is not None:
        is_open.add_metric([], mail.refusals == 0)
        in_flight.add_metric([], mail.in_flight)
        if mail.silent_seconds is not None:
            silent.add_metric([], mail.silent_seconds)
    yield from (is_open, in_flight, silent)


def _of_tables(tables: Tables | None, history: History) -> Iterator[Metric]:
    """Of the whole database: where that cannot be read there are no samples but that of `walletq_tables_up`."""
    up = _gauge("walletq_tables_up", "Whether pools and deliveries could be read; where not, they have no samples.")
    if history.clock is not None:
        up.add_metric([], tables is not None)
    pool = ("currency", "network")
    wallets = _gauge("walletq_pool_wallets", "Wallets of a pool: available, occupied or cooling.", *pool, "status")
    critical = _gauge("walletq_pool_critical_wallets", "CRITICAL at or below so many available wallets.", *pool)
    waiting = _gauge("walletq_pool_waiting_orders", "Orders that wait for a wallet of the pool.", *pool)
    oldest = _gauge("walletq_pool_oldest_waiting_seconds", "For how long the first of them waits; 0: none does.", *pool)
    deliveries = _gauge("walletq_deliveries", "Deliveries that have not ended, and those that are held.", "state")
    due = _gauge("walletq_deliveries_oldest_due_seconds", "For how long a delivery has been due; 0: none is.")
    if tables is not None:
        for one in tables.pools:
            labels = [one.currency, one.network]
            for status in ("available", "occupied", "cooling"):
                wallets.add_metric([*labels, status], getattr(one, status))
            critical.add_metric(labels, one.critical)
            waiting.add_metric(labels, one.waiting)
            oldest.add_metric(labels, one.oldest_waiting_seconds)
        for state, count in tables.deliveries.items():
            deliveries.add_metric([state], count)
        due.add_metric([], tables.oldest_due_seconds)
    yield from (up, wallets, critical, waiting, oldest, deliveries, due)


def _of_topics(tables: Tables | None, ends: Mapping[PartitionKey, End]) -> Iterator[Metric]:
    """Of all partitions, also those that nobody owns; no samples where the database, or Kafka, cannot be read."""
    keys = ("topic", "partition")
    lag = _gauge("walletq_topic_lag_records", "Records, and markers, that are not applied, whoever owns them.", *keys)
    place = _gauge("walletq_topic_next_offset", "The first record that is not applied, in the database.", *keys)
    if tables is not None:
        for (topic, partition), end in ends.items():
            labels = [topic, str(partition)]
            at = tables.places.get((topic, partition), 0)  # 0: nobody has owned it yet
            place.add_metric(labels, at)
            lag.add_metric(labels, max(0, end.end_offset - at))
    yield from (lag, place)


def _gauge(name: str, says: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, labels=labels)


def _single(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, value=value)
