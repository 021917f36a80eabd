"""What is on a topic."""

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from schemas.settings import Settings
from schemas.topics import PARTITIONS
from storage.kafka import MAX_FETCH_BYTES, client_options


async def consumed(settings: Settings, topic: str, partitions: int = PARTITIONS) -> list[ConsumerRecord]:
    """All committed records of a topic with their headers, in the order of each partition."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=MAX_FETCH_BYTES,
    )
    async with consumer:
        tps = [TopicPartition(topic, partition) for partition in range(partitions)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        records: list[ConsumerRecord] = []
        for tp in tps:
            while await consumer.position(tp) < ends[tp]:
                fetched = await consumer.getmany(tp, timeout_ms=200)
                records += fetched.get(tp, [])
    return records
