"""The notification topic, as the mailer finds it at its start."""

from dataclasses import dataclass

from schemas.settings import Settings
from storage.errors import TopicMissing
from storage.kafka import admin_client
from storage.topics import cluster_id


@dataclass(frozen=True)
class Topic:
    """The topic as Kafka has it."""

    name: str
    cluster_id: str
    partition_count: int


async def read_topic(settings: Settings, topic: str) -> Topic:
    """Look at the topic.

    Raises:
        ServerUnreachable: Kafka does not answer.
        TopicMissing: there is no such topic.
    """
    async with admin_client(settings) as admin:
        found = [row for row in await admin.describe_topics([topic]) if row["topic"] == topic and not row["error_code"]]
    if not found:
        raise TopicMissing(topic)
    return Topic(topic, await cluster_id(settings), len(found[0]["partitions"]))
