"""What both consumers need of the consumer group, where aiokafka leaves it to its users."""

import asyncio

import structlog
from aiokafka import AIOKafkaConsumer

log = structlog.get_logger(__name__)

LEAVE_SECONDS = 3.0


async def leave(consumer: AIOKafkaConsumer) -> None:
    """Leave the group (a static member keeps its place) and disconnect.

    Where Kafka is away, aiokafka's stop() ends as cancelled, halfway, by its own pending fetches; so it runs as a
    task of its own, and what it leaves open is closed behind it.
    """
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait([stopping], timeout=LEAVE_SECONDS)
    if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
        stopping.cancel()
        log.warning("group_not_left", reason="Kafka is away; the session's timeout will end the membership")
        await consumer._client.close()  # noqa: SLF001
