"""A message: read, applied, acknowledged."""

import asyncio
from datetime import UTC, datetime
from typing import NamedTuple

from aiokafka import ConsumerRecord
from faststream.kafka import KafkaMessage

from benchmarks.contenders.per_event.allocation import Allocation
from benchmarks.contenders.per_event.relay import Relay
from schemas.events import EVENT, Event

ACK_SECONDS = 1.0
RETRY_SECONDS = 1.0


class Received(NamedTuple):
    """A message and the event in it."""

    message: KafkaMessage
    partition: int
    at: datetime
    event: Event


async def read(message: KafkaMessage) -> Received:
    """The decoder: validates the event. FastStream logs a message that is none, and goes on."""
    record = message.raw_message
    assert isinstance(record, ConsumerRecord)
    at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    return Received(message, record.partition, at, EVENT.validate_json(message.body))


class Handler:
    """Applies events and wakes the relay."""

    def __init__(self, allocation: Allocation, relay: Relay) -> None:
        self._allocation = allocation
        self._relay = relay
        self._acked: dict[int, float] = {}

    async def apply(self, received: Received) -> None:
        """Commit the event's transaction; to acknowledge it is left to FastStream."""
        await self._allocation.handle(received.event, received.at)
        self._relay.wake()

    async def handle(self, received: Received) -> None:
        """The same, and acknowledge it now and then; where it fails, the event comes again, before those behind it."""
        try:
            await self.apply(received)
        except Exception:
            await received.message.nack()
            await asyncio.sleep(RETRY_SECONDS)
            raise
        await self._ack(received)

    async def _ack(self, received: Received) -> None:
        """Commit the partition's offset, not for each event: what comes again after a crash has no effect."""
        now = asyncio.get_running_loop().time()
        if now - self._acked.get(received.partition, 0) >= ACK_SECONDS:
            self._acked[received.partition] = now
            await received.message.ack()
