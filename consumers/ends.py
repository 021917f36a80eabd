"""Where partitions end, and where their consumer goes on."""

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaConnectionError

from monitoring.samples import End


async def ends_of(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> dict[tuple[str, int], End]:
    """Of the partitions that the consumer still has.

    Raises:
        KafkaError: Kafka does not answer.
    """
    partitions = list(partitions)
    if not partitions:
        if not await consumer._client.force_metadata_update():  # noqa: SLF001 - a question that needs no partition
            raise KafkaConnectionError("no broker answers")
        return {}
    offsets = await consumer.end_offsets(partitions)
    found = {}
    for tp in partitions:
        try:
            found[tp.topic, tp.partition] = End(offsets[tp], await consumer.position(tp))
        except IllegalStateError:
            continue  # the group has given it to another meanwhile
    return found
