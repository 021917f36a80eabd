"""The partitions side by side, each in its order, one event at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

COMMIT_SECONDS = 1.0
POLL_MS = 100
"How often an idle partition looks whether it is to stop."

Handle = Callable[[ConsumerRecord], Awaitable["asyncio.Future[object] | None"]]
"Returns what has to be done before the record's offset may be committed: a notification's acknowledgement."


class Workers(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """A task for each partition that the consumer is assigned."""

    def __init__(self, consumer: AIOKafkaConsumer, handle: Handle, tasks: asyncio.TaskGroup) -> None:
        self._consumer = consumer
        self._handle = handle
        self._tasks = tasks
        self._working: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._stopping.clear()
        self._working = {self._tasks.create_task(self._work(tp)) for tp in assigned}

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002
        await self.stop()

    async def stop(self) -> None:
        """Let each end behind the event that it is at, and commit."""
        self._stopping.set()
        if self._working:
            await asyncio.wait(self._working)

    async def _work(self, tp: TopicPartition) -> None:
        clock = asyncio.get_running_loop().time
        committed_at = clock()
        next_offset: int | None = None
        sent: list[asyncio.Future[object]] = []
        while not self._stopping.is_set():
            records = (await self._consumer.getmany(tp, timeout_ms=POLL_MS)).get(tp, [])
            for record in records:
                if self._stopping.is_set():
                    break
                if (acknowledgement := await self._handle(record)) is not None:
                    sent.append(acknowledgement)
                next_offset = record.offset + 1
            idle = not records
            if next_offset is not None and (
                idle or self._stopping.is_set() or clock() - committed_at >= COMMIT_SECONDS
            ):
                await asyncio.gather(*sent)
                await self._consumer.commit({tp: next_offset})
                committed_at, next_offset, sent = clock(), None, []
