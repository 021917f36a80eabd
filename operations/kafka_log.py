"""Reads topics from outside of any consumer group: where partitions begin and end, and their committed records."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from schemas.settings import Settings
from storage.errors import TopicMissing
from storage.kafka import MAX_FETCH_BYTES, client_options, unreachable

START_SECONDS = 10.0
SILENCE_SECONDS = 30.0
"Where records must come, they come within so long."
POLL_MS = 500


class KafkaLog:
    """The topics, as committed. Made by `open_log`."""

    def __init__(self, settings: Settings, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._consumer = consumer

    async def ends(self, topic: str) -> dict[int, int]:
        """For each partition the offset behind its last committed record or marker."""
        return {at.partition: offset for at, offset in (await self._consumer.end_offsets(await self._all(topic))).items()}

    async def beginnings(self, topic: str) -> dict[int, int]:
        """For each partition the first offset that is kept."""
        found = await self._consumer.beginning_offsets(await self._all(topic))
        return {at.partition: offset for at, offset in found.items()}

    async def read(self, topic: str, start: Mapping[int, int], end: Mapping[int, int]) -> AsyncIterator[list[ConsumerRecord]]:
        """The committed records of each partition in `end` from its offset in `start` up to, without, that in `end`.

        Raises:
            ServerUnreachable: the records stop coming.
        """
        left = {TopicPartition(topic, p): stop for p, stop in end.items() if start[p] < stop}
        self._consumer.assign(list(left))
        for at in left:
            self._consumer.seek(at, start[at.partition])
        while left:
            async with asyncio.timeout(SILENCE_SECONDS):
                fetched = await self._consumer.getmany(*left, timeout_ms=POLL_MS)
            for at, records in fetched.items():
                yield [record for record in records if record.offset < left[at]]
            # A place may be behind markers and aborted records, which are passed over without a record.
            done = [at for at in left if await self._consumer.position(at) >= left[at]]
            for at in done:
                del left[at]
            if done and left:
                self._consumer.pause(*done)

    async def _all(self, topic: str) -> list[TopicPartition]:
        await self._consumer._client.add_topic(topic)
        raise NotImplementedError


@asynccontextmanager
async def open_log(settings: Settings) -> AsyncIterator[KafkaLog]:
    """A connected reader."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="none",
        max_partition_fetch_bytes=MAX_FETCH_BYTES,
    )
    try:
        try:
            async with asyncio.timeout(START_SECONDS):
                await consumer.start()
        except (KafkaError, OSError, asyncio.TimeoutError) as error:
            raise unreachable(settings, error) from error
        yield KafkaLog(settings, consumer)
    finally:
        await consumer.stop()
