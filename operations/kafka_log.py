"""Reads topics from outside of any consumer group: where partitions begin and end, and their committed records."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.settings import Settings
from schemas.topics import topics
from storage.kafka import MAX_FETCH_BYTES, outside_consumer, unreachable
from storage.topics import cluster_id, find_topics

SILENCE_SECONDS = 30.0
"Where there is more to read, it comes within so long."
SEEK_SECONDS = 5.0
"A single record comes within so long."
POLL_MS = 100
MAX_RECORDS = 10_000
"The most records that are in memory at a time, of those that are fetched: each is a large object."


class KafkaLog:
    """The topics, as committed. Made by `open_log`.

    Attributes:
        cluster_id: which Kafka it is.
        partitions: how many partitions each topic has.
    """

    def __init__(
        self, settings: Settings, consumer: AIOKafkaConsumer, cluster_id: str, partitions: Mapping[str, int]
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self.cluster_id = cluster_id
        self.partitions = partitions

    async def ends(self, topic: str) -> dict[int, int]:
        """For each partition the offset behind its last committed record or marker."""
        found = await self._consumer.end_offsets(self._all(topic))
        return {at.partition: offset for at, offset in found.items()}

    async def beginnings(self, topic: str) -> dict[int, int]:
        """For each partition the first offset that is kept."""
        found = await self._consumer.beginning_offsets(self._all(topic))
        return {at.partition: offset for at, offset in found.items()}

    async def read(
        self, topic: str, start: Mapping[int, int], end: Mapping[int, int]
    ) -> AsyncIterator[list[ConsumerRecord]]:
        """The committed records of each partition in `end`, from its offset in `start` to that in `end`, which is not
        read any more. A batch is of one partition, and never empty.

        Raises:
            ServerUnreachable: no more records come, though there must be some.
        """
        left = {TopicPartition(topic, number): stop for number, stop in end.items() if start[number] < stop}
        self._consumer.assign(list(left))
        for at in left:
            self._consumer.seek(at, start[at.partition])
        heard = time.monotonic()
        places = {at: start[at.partition] for at in left}
        while left:
            fetched = await self._consumer.getmany(*left, timeout_ms=POLL_MS, max_records=MAX_RECORDS)
            for at, records in fetched.items():
                if wanted := [record for record in records if record.offset < left[at]]:
                    yield wanted
            # A place can be behind markers and aborted records: they are passed over without a record.
            now_at = {at: await self._consumer.position(at) for at in left}
            if now_at != places:
                places, heard = now_at, time.monotonic()
            elif time.monotonic() - heard > SILENCE_SECONDS:
                raise unreachable(self._settings, asyncio.TimeoutError(f"no more records of {topic} come"))
            done = [at for at, place in now_at.items() if place >= left[at]]
            left = {at: stop for at, stop in left.items() if at not in done}
            places = {at: places[at] for at in left}
            if done:
                self._consumer.pause(*done)

    async def at(self, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, ConsumerRecord]:
        """The committed records at these offsets of a partition, those that are kept. Each is sought for.

        Raises:
            ServerUnreachable: one of them does not come, though it must be there.
        """
        at = TopicPartition(topic, partition)
        self._consumer.assign([at])
        first, end = (await self.beginnings(topic))[partition], (await self.ends(topic))[partition]
        found = {}
        for offset in sorted(set(offsets)):
            if not first <= offset < end:
                continue
            self._consumer.seek(at, offset)
            heard = time.monotonic()
            while not (records := (await self._consumer.getmany(at, timeout_ms=POLL_MS, max_records=1)).get(at, [])):
                if time.monotonic() - heard > SEEK_SECONDS:
                    raise unreachable(
                        self._settings, asyncio.TimeoutError(f"{topic}/{partition}/{offset} does not come")
                    )
            if records[0].offset == offset:
                found[offset] = records[0]
        return found

    def _all(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(self.partitions[topic])]


@asynccontextmanager
async def open_log(settings: Settings, *, fetch_bytes: int = MAX_FETCH_BYTES) -> AsyncIterator[KafkaLog]:
    """A connected reader of the contract's topics.

    Args:
        settings: where Kafka is.
        fetch_bytes: the most that one request brings of a partition; little where single records are sought for.

    Raises:
        ServerUnreachable: Kafka does not answer.
        TopicMissing: a topic does not exist.
    """
    counts = await find_topics(settings, *(topic.name for topic in topics(settings)))
    cluster = await cluster_id(settings)
    # Partitions that are read to their end must not hold up the others.
    options = {"max_partition_fetch_bytes": fetch_bytes, "fetch_max_wait_ms": 20}
    async with outside_consumer(settings, **options) as consumer:
        yield KafkaLog(settings, consumer, cluster, counts)
