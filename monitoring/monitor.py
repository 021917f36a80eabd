"""The monitor of a process: follows what it does, asks its servers now and then, and answers over HTTP."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Literal

import asyncpg
import structlog
from aiokafka.errors import KafkaError
from prometheus_client import make_wsgi_app

from monitoring.following import History, PartitionKey, answered, follow
from monitoring.http import Page, routes, serving
from monitoring.metrics import Metrics, States
from monitoring.pools import Tables, answer, read_oldest_due, read_tables
from monitoring.samples import Answer, End, Sample
from monitoring.traces import Traces, open_traces
from monitoring.verdict import LIMITS, Limits, Verdict, as_json, judge
from schemas.catalogue import Catalogue, read_catalogue
from schemas.settings import Settings, SettingsError
from storage.database import AWAY, Role, connect
from storage.errors import ServerUnreachable, TopicMissing

log = structlog.get_logger(__name__)

ProcessName = Literal["allocate", "mail", "clock"]
Ends = Callable[[], Awaitable[Mapping[PartitionKey, End]]]
"Asks Kafka for the ends of the partitions that the process owns, or is to look at. Raises KafkaError and its like."

SAMPLE_SECONDS = 1.0
ASK_SECONDS = 5.0
"Between two questions to a server; no scrape asks one."
ANSWER_SECONDS = 4.0
STALE_SECONDS = 30.0
"What was read longer ago is not known any more."
ROLES: Mapping[ProcessName, Role] = {
    "allocate": "walletq_allocator",
    "mail": "walletq_mailer",
    "clock": "walletq_operator",
}


@contextmanager
def monitoring(process: ProcessName, settings: Settings) -> Iterator["Monitor"]:
    """A process's monitor, which answers over HTTP where the settings say where.

    Raises:
        SettingsError: it cannot listen there, or cannot write traces.
    """
    monitor = Monitor(process, settings)
    with ExitStack() as closing:
        if monitor.traces is not None:
            closing.callback(monitor.traces.close)
        if settings.http_port is not None:
            closing.enter_context(serving(settings.http_host, settings.http_port, monitor.application))
        yield monitor


class Monitor:
    """Follows one process."""

    def __init__(self, process: ProcessName, settings: Settings, limits: Limits = LIMITS) -> None:
        """Nothing is asked before `running`."""
        self.process = process
        self.metrics = Metrics()
        self.traces: Traces | None = open_traces(process, settings)
        self._settings = settings
        self._limits = limits
        self._catalogue: Catalogue = read_catalogue(settings.catalogue)
        self._servers: dict[str, Answer | None] = {"database": None, "kafka": None}
        self._history = History(time.monotonic(), servers=dict(self._servers))
        self._sample: Callable[[], Sample] = Sample
        self._ask_kafka: Ends | None = None
        self._ends: Mapping[PartitionKey, End] = {}
        self._connection: asyncpg.Connection | None = None
        self._tables: tuple[float, Tables] | None = None
        self._oldest_due: float | None = None
        states = States(process, lambda: self._history, self._fresh_tables, lambda: self._ends, limits)
        self.metrics.registry.register(states)
        self.application = routes(
            {
                "/livez": lambda: self._page(lambda verdict: verdict.alive),
                "/readyz": lambda: self._page(lambda verdict: verdict.ready),
                "/progress": lambda: self._page(lambda _: True),
            },
            {"/metrics": make_wsgi_app(self.metrics.registry)},
        )

    @contextmanager
    def following(self, sample: Callable[[], Sample], ends: Ends) -> Iterator[None]:
        """Follow this part of the process while the block runs.

        Args:
            sample: says what it does; quick, and without waiting.
            ends: asks Kafka through the part's own client.
        """
        self._sample, self._ask_kafka = sample, ends
        try:
            yield
        finally:
            self._sample, self._ask_kafka, self._ends = Sample, None, {}
            # Nobody is there to ask Kafka: what it said last is not known any more, and no work is done.
            self._servers["kafka"] = answered(self._servers["kafka"], "the process is not connected", time.monotonic())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sample and ask while the block runs, where somebody can ask for it."""
        if self._settings.http_port is None:
            yield
            return
        work = (self._sample_on(), self._ask_on("database", self._ask_database), self._ask_on("kafka", self._find_ends))
        tasks = [asyncio.create_task(one) for one in work]
        for task in tasks:
            task.add_done_callback(_report)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._drop_connection()

    async def _sample_on(self) -> None:
        while True:
            self._history = follow(
                self._history,
                self._sample(),
                time.monotonic(),
                ends=self._ends,
                servers=self._servers,
                oldest_due_seconds=self._oldest_due,
            )
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _ask_on(self, server: str, ask: Callable[[], Awaitable[bool]]) -> None:
        """Ask for ever, and note whether it answers."""
        while True:
            error: str | None = None
            asked = True
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    asked = await ask()
            except (KafkaError, ServerUnreachable, TopicMissing, SettingsError, *AWAY) as problem:
                # SettingsError: a certificate is read at each connection, and may be in the middle of its replacement.
                error = _words(problem)
            if asked:
                self._servers[server] = answered(self._servers[server], error, time.monotonic())
            await asyncio.sleep(ASK_SECONDS if asked else SAMPLE_SECONDS)

    async def _find_ends(self) -> bool:
        """Whether there was somebody through whom Kafka could be asked."""
        if self._ask_kafka is None:
            return False
        try:
            self._ends = await self._ask_kafka()
        except BaseException:
            self._ends = {}
            raise
        return True

    async def _ask_database(self) -> bool:
        try:
            if self._connection is None:
                self._connection = await connect(
                    self._settings.need_database(), ROLES[self.process], application=f"walletq {self.process} monitor"
                )
            if self.process == "clock":
                self._tables = (time.monotonic(), await read_tables(self._connection, self._catalogue))
            elif self.process == "mail":
                self._oldest_due = await read_oldest_due(self._connection)
            else:
                await answer(self._connection)
        except BaseException:
            self._tables = self._oldest_due = None
            self._drop_connection()
            raise
        return True

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _fresh_tables(self) -> Tables | None:
        read = self._tables
        return None if read is None or time.monotonic() - read[0] > STALE_SECONDS else read[1]

    def _page(self, is_good: Callable[[Verdict], bool]) -> Page:
        """Called by the endpoint's thread: it takes the last history, which nobody changes."""
        history, now = self._history, time.monotonic()
        verdict = judge(history, now, self._limits)
        body = json.dumps(as_json(self.process, history, verdict, now), indent=2).encode() + b"\n"
        return Page("200 OK" if is_good(verdict) else "503 Service Unavailable", "application/json", body)


def _words(problem: BaseException) -> str:
    if isinstance(problem, asyncio.TimeoutError):
        return f"no answer within {ANSWER_SECONDS:g} s"
    text = str(problem).splitlines()[0] if str(problem) else ""
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def _report(task: asyncio.Task[None]) -> None:
    """What follows the process must not end it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("monitoring_failed", exc_info=error)
