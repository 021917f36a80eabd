"""One partition's log, through the consumer that a process's partitions share."""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumers.allocator.reading import Record
from consumers.places import Log


class PartitionSource:
    """See ports.Source. The consumer has the partition paused until the first seek."""

    def __init__(self, consumer: AIOKafkaConsumer, tp: TopicPartition, cluster: str) -> None:
        self._consumer = consumer
        self._tp = tp
        self._cluster = cluster

    async def describe(self) -> Log:
        count = len(self._consumer.partitions_for_topic(self._tp.topic) or ())
        start = (await self._consumer.beginning_offsets([self._tp]))[self._tp]
        end = (await self._consumer.end_offsets([self._tp]))[self._tp]
        return Log(self._cluster, count, start, end)

    def seek(self, offset: int) -> None:
        self._consumer.seek(self._tp, offset)
        self._consumer.resume(self._tp)

    async def fetch(self, most: int, seconds: float) -> Sequence[Record]:
        fetched = await self._consumer.getmany(self._tp, timeout_ms=round(seconds * 1000), max_records=most)
        records: Sequence[Record] = fetched.get(self._tp, [])
        return records

    async def rest(self, seconds: float) -> None:
        self._consumer.pause(self._tp)
        await asyncio.sleep(seconds)
        self._consumer.resume(self._tp)
