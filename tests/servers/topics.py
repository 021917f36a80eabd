"""What is on a topic, and how large it may be."""

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from schemas.settings import Settings
from schemas.topics import PARTITIONS
from storage.kafka import MAX_FETCH_BYTES, client_options

BROKERS_LIMIT = 1_048_588
"max.message.bytes where nobody has set it: the size of a batch."
MEGABYTE = 1_000_000


def largest_value(key: bytes) -> int:
    """The length of the value with which a batch of one record is as large as a broker takes it."""
    batch = AIOKafkaProducer(max_batch_size=1 << 21).create_batch()
    batch.append(timestamp=None, key=key, value=bytes(MEGABYTE))
    return MEGABYTE + BROKERS_LIMIT - int(batch.size())


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
