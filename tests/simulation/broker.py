"""The simulated Kafka: one partition of the log with its gaps, and the topics that are published to."""

import asyncio
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import partial
from operator import attrgetter

from aiokafka.errors import KafkaConnectionError, KafkaError

from consumers.allocator.outbox import notification_message
from consumers.allocator.state import KeptDeadLetter, Notification
from consumers.dead_letters import dead_letter_message
from consumers.messages import Message
from consumers.places import Log
from schemas.topics import PARTITIONS, Names
from tests.reference import Record
from tests.simulation.process import Process

CLUSTER = "simulated"
NAMES = Names("")


class LoggedRecord(Record):
    """A record, as a consumer has it."""

    headers = ()

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch."""
        return self.timestamp_ms


class SimulatedLog:
    """One partition of `order-status`."""

    def __init__(self) -> None:
        self.records: list[LoggedRecord] = []
        self.end = 0
        self._grown = asyncio.Event()

    def append(self, partition: int, timestamp_ms: int, key: bytes | None, value: bytes | None) -> None:
        """A record at the end."""
        self.records.append(LoggedRecord(partition, self.end, timestamp_ms, key, value))
        self._grow()

    def mark(self) -> None:
        """A transaction's marker: an offset without a record."""
        self._grow()

    def from_(self, offset: int, most: int) -> list[LoggedRecord]:
        """The first records that are not before the offset."""
        first = bisect_left(self.records, offset, key=attrgetter("offset"))
        return self.records[first : first + most]

    async def growth(self) -> None:
        """Wait until something is appended."""
        await self._grown.wait()

    def _grow(self) -> None:
        self.end += 1
        self._grown.set()
        self._grown = asyncio.Event()


class SimulatedSource:
    """A process's consumer of the partition; see ports.Source."""

    def __init__(self, process: Process, log: SimulatedLog) -> None:
        self._process = process
        self._log = log
        self._position: int | None = None

    async def describe(self) -> Log:
        async def read() -> Log:
            return Log(CLUSTER, PARTITIONS, 0, self._log.end)

        async def read_stale() -> Log:
            """A broker that has just come back does not know the high watermark yet."""
            return Log(CLUSTER, PARTITIONS, 0, max(0, self._log.end - 3))

        return await self._process.call("describe", read, odd=read_stale, error=_unreachable)

    def seek(self, offset: int) -> None:
        self._position = offset

    async def fetch(self, most: int, seconds: float) -> Sequence[LoggedRecord]:
        async def read() -> Sequence[LoggedRecord]:
            if self._position is None:  # paused until the first seek
                await asyncio.sleep(seconds)
                return []
            if not self._log.from_(self._position, 1):
                try:
                    async with asyncio.timeout(seconds):
                        await self._log.growth()
                except TimeoutError:
                    return []
            return self._log.from_(self._position, self._process.world.chance.randint(1, most))

        records = await self._process.call("fetch", read, error=_unreachable)
        if records:
            self._position = records[-1].offset + 1
        return records

    async def rest(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SimulatedTopics:
    """What is published, and to whom each publish is to be shown."""

    def __init__(self) -> None:
        self.messages: list[tuple[Notification | KeptDeadLetter, Message]] = []

    def append(self, partition: int, item: Notification | KeptDeadLetter) -> None:
        """Published, as the outbox words it."""
        if isinstance(item, Notification):
            message = notification_message(NAMES, item)
        else:
            message = dead_letter_message(NAMES.orders, partition, item)
        self.messages.append((item, message))


class SimulatedPublisher:
    """A process's outbox; see ports.Publisher."""

    def __init__(self, process: Process, topics: SimulatedTopics) -> None:
        self._process = process
        self._topics = topics

    async def publish(self, partition: int, kept: Iterable[Notification | KeptDeadLetter]) -> None:
        items = list(kept)
        if not items:
            return

        async def send_all() -> None:
            for item in items:
                await self._process.call("send", partial(self._send, partition, item), error=_unreachable)

        async def send_some() -> None:
            """Partitions have leaders of their own: any of the messages may have come through."""
            for item in items:
                if self._process.world.chance.random() < 0.5:
                    await self._send(partition, item)

        async def send_late() -> None:
            """The batch of a producer that is given up: the brokers have it already."""
            for item in items:
                await self._send(partition, item)

        await self._process.call("publish", send_all, late=lambda: send_late, part=send_some, error=_unreachable)

    async def _send(self, partition: int, item: Notification | KeptDeadLetter) -> None:
        self._topics.append(partition, item)
        self._process.world.published()


def _unreachable() -> KafkaError:
    return KafkaConnectionError("simulated")
