"""Dead letters on their way to their topic: at least once; duplicates share topic, partition and offset."""

import asyncio
from collections.abc import Callable

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from consumers.dead_letters import DeadLetter, dead_letter_message
from consumers.mailer.deliveries import Deliveries
from consumers.mailer.patience import patiently
from consumers.messages import send
from storage.kafka import started
from storage.kafka import stop as stop_producer
from storage.waiting import first_of

log = structlog.get_logger(__name__)

BATCH = 100
LOOK_SECONDS = 5.0
"Between two looks for what a mailer left that died before it published."


class DeadLetterPublisher:
    """Publishes the dead letters that wait in the database."""

    def __init__(self, deliveries: Deliveries, topic: str, make_producer: Callable[[], AIOKafkaProducer]) -> None:
        """Wire it; it connects at the first dead letter.

        Args:
            deliveries: the mailer's tables.
            topic: the topic whose records were refused.
            make_producer: an unstarted producer; a new one after a failure, since a failed one may never recover.
        """
        self._deliveries = deliveries
        self._topic = topic
        self._make_producer = make_producer
        self._producer: AIOKafkaProducer | None = None
        self.wake = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop`; what is left then the next mailer publishes."""
        try:
            while not stop.is_set():
                self.wake.clear()
                await patiently(self._publish, what="publishing dead letters", stop=stop)
                await first_of(self.wake, LOOK_SECONDS)
        finally:
            if self._producer is not None:
                await stop_producer(self._producer)

    async def _publish(self) -> None:
        while letters := await self._deliveries.dead_letters_to_publish(BATCH):
            await self._send(letters)
            await self._deliveries.dead_letters_published(letters)
            log.info("dead_letters_published", topic=self._topic, count=len(letters))

    async def _send(self, letters: list[DeadLetter]) -> None:
        try:
            if self._producer is None:
                self._producer = await started(self._make_producer())
            await send(self._producer, [dead_letter_message(self._topic, one.partition, one) for one in letters])
        except KafkaError:
            failed, self._producer = self._producer, None
            if failed is not None:
                await stop_producer(failed)
            raise
