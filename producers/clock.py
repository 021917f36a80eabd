"""The clock: time enters the system only as events.

Several clocks do no harm: each makes the same event, byte for byte, of the same order or wallet, and the second
has no effect.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import structlog
from aiokafka.errors import KafkaError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from producers.expiry import Recently, payment_timeout, wallet_cooled
from producers.publisher import Publisher
from schemas.catalogue import read_catalogue
from schemas.events import Event
from schemas.settings import Settings
from schemas.topics import names
from storage.database import AWAY as DATABASE_AWAY
from storage.database import connect
from storage.errors import ServerUnreachable, TopicMissing
from storage.migrations import check_migrated
from storage.sql import read_queries
from storage.waiting import pausing, unless

if TYPE_CHECKING:
    from monitoring.monitor import Monitor

log = structlog.get_logger(__name__)

PAGE = 1_000
"The most events of a kind and currency that one look publishes."
SOON_SECONDS = 0.2
COMMAND_SECONDS = 30.0
MAX_BACKOFF_SECONDS = 10.0
# The topic was there at the start: a broker that has just come back may not know it yet.
AWAY = (ServerUnreachable, TopicMissing, KafkaError, *DATABASE_AWAY)

SQL = read_queries("clock")


async def run_clock(settings: Settings, stop: asyncio.Event, monitor: "Monitor | None" = None) -> None:
    """Publish what has expired, every `clock_interval_seconds`, until `stop` is set.

    Outages are sat out, however long; only at the start the servers must answer.

    Args:
        monitor: is told what happens; None where nobody wants to know.

    Raises:
        ServerUnreachable: Kafka or the database does not answer at the start.
        NotMigrated, TopicMissing: the tables or the topic are not there.
    """
    done = Done()
    clock: Clock | None = await Clock.open(settings, done)
    log.info("clock_started", interval_seconds=settings.clock_interval_seconds)
    async with _followed(monitor, settings, done):
        while clock is not None and not stop.is_set():
            try:
                await unless(stop, clock.run())
                continue
            except AWAY as error:
                log.warning("clock_waits_for_a_server", error=str(error) or type(error).__name__)
            finally:
                await clock.close()
            # What was under way is done again by the next look, and does no harm.
            clock = await unless(stop, _reopened(settings, stop, done))
    log.info("clock_stopped")


@dataclass
class Done:
    """What a clock has done since its start, whatever became of its connections."""

    looks: int = 0
    on_published: Callable[[Iterable[Event]], None] | None = None


@asynccontextmanager
async def _followed(monitor: "Monitor | None", settings: Settings, done: Done) -> AsyncIterator[None]:
    """Let the monitor follow what is done."""
    if monitor is None:
        yield
        return
    from monitoring.ends import TopicEnds
    from monitoring.samples import ClockSample, Sample

    def count(events: Iterable[Event]) -> None:
        for kind, number in Counter(event.type for event in events).items():
            monitor.metrics.clock_events.labels(kind).inc(number)

    done.on_published = count
    interval = settings.clock_interval_seconds
    topics = names(settings)
    ends = TopicEnds(settings, topics.orders, topics.notifications)
    try:
        with monitor.following(lambda: Sample(clock=ClockSample(done.looks, interval)), ends.ask):
            yield
    finally:
        await ends.close()


class Clock:
    """A clock with its connections."""

    def __init__(self, settings: Settings, connection: asyncpg.Connection, publisher: Publisher, done: Done) -> None:
        self._interval = settings.clock_interval_seconds
        # A wallet_cooled of a currency that has left the catalogue would be refused again and again.
        self._currencies = list(read_catalogue(settings.catalogue).currencies)
        self._connection = connection
        self._publisher = publisher
        self._published = Recently()
        self._done = done

    @classmethod
    async def open(cls, settings: Settings, done: Done | None = None) -> "Clock":
        """Connect, or raise as `run_clock` does."""
        connection = await connect(
            settings.need_database(),
            "walletq_operator",
            application="walletq clock",
            command_seconds=COMMAND_SECONDS,
        )
        try:
            await check_migrated(connection)
            return cls(settings, connection, await Publisher(settings).__aenter__(), done or Done())
        except BaseException:
            connection.terminate()
            raise

    async def close(self) -> None:
        """Disconnect."""
        self._connection.terminate()
        await self._publisher.__aexit__(None, None, None)

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            more = await self.look(time.monotonic())
            await asyncio.sleep(min(self._interval, SOON_SECONDS) if more else self._interval)

    async def look(self, now: float) -> bool:
        """Publish what has expired and was not published a short time ago.

        Args:
            now: in seconds, on any clock that only goes forward.

        Returns:
            whether there may be more of it already.
        """
        expired = await self._connection.fetch(SQL["expired"], PAGE)
        cooled = await self._connection.fetch(SQL["cooled"], PAGE, self._currencies)
        events: list[Event] = [*map(payment_timeout, expired), *map(wallet_cooled, cooled)]
        due = self._published.without(events, now)
        if due:
            await self._publisher.publish_many(due)
            self._published.add(due, now)
            if self._done.on_published is not None:
                self._done.on_published(due)
            log.info("clock_published", events=len(due), expired=len(expired), cooled=len(cooled))
        self._done.looks += 1
        return bool(due) and max(len(expired), len(cooled)) >= PAGE


async def _reopened(settings: Settings, stop: asyncio.Event, done: Done) -> Clock:
    """A new clock, as soon as the servers are back."""
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(AWAY),
        wait=wait_random_exponential(multiplier=0.2, max=MAX_BACKOFF_SECONDS),
        sleep=pausing(stop),
        reraise=True,
    )
    return await retrying(Clock.open, settings, done)
