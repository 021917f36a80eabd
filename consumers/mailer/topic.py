"""The notification topic, as the mailer finds it at its start."""

from dataclasses import dataclass

from aiokafka.partitioner import DefaultPartitioner

from schemas.settings import Settings
from storage.topics import cluster_id, find_topics


@dataclass(frozen=True)
class Topic:
    """The topic as Kafka has it."""

    name: str
    cluster_id: str
    partition_count: int

    def partition_of(self, key: str) -> int:
        """Where the records with this key are."""
        partitions = list(range(self.partition_count))
        partition: int = DefaultPartitioner()(key.encode(), partitions, partitions)
        return partition


async def read_topic(settings: Settings, topic: str) -> Topic:
    """Look at the topic.

    Raises:
        ServerUnreachable: Kafka does not answer.
        TopicMissing: there is no such topic.
    """
    counts = await find_topics(settings, topic)
    return Topic(topic, await cluster_id(settings), counts[topic])
