"""Where the topics end, whoever owns their partitions."""

from contextlib import AsyncExitStack

from aiokafka import AIOKafkaConsumer, TopicPartition

from monitoring.following import PartitionKey
from monitoring.samples import End
from schemas.settings import Settings
from storage.kafka import outside_consumer
from storage.topics import find_topics


class TopicEnds:
    """Asks Kafka over connections that are kept until they fail."""

    def __init__(self, settings: Settings, *topics: str) -> None:
        self._settings = settings
        self._topics = topics
        self._closing = AsyncExitStack()
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []

    async def ask(self) -> dict[PartitionKey, End]:
        """The end of every partition; nobody reads on, so the position is there, too.

        Raises:
            ServerUnreachable, KafkaError: Kafka does not answer.
            TopicMissing: a topic does not exist.
        """
        try:
            consumer = self._consumer or await self._connect()
            ends = await consumer.end_offsets(self._partitions)
        except BaseException:
            await self.close()
            raise
        return {(tp.topic, tp.partition): End(offset, position=offset) for tp, offset in ends.items()}

    async def _connect(self) -> AIOKafkaConsumer:
        counts = await find_topics(self._settings, *self._topics)
        self._partitions = [TopicPartition(topic, at) for topic, count in counts.items() for at in range(count)]
        self._consumer = await self._closing.enter_async_context(outside_consumer(self._settings))
        return self._consumer

    async def close(self) -> None:
        """Disconnect; the next question connects again."""
        self._consumer = None
        await self._closing.aclose()
