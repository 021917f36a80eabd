"""The outbox relay: publishes in order what transactions have written."""

import asyncio

from asyncpg import Pool
from faststream.kafka import KafkaBroker

from benchmarks.contenders.per_event.allocation import SQL

AT_ONCE = 500


class Relay:
    """At least once: a crash between the acknowledgement and the deletion repeats a notification, as it was."""

    def __init__(self, pool: Pool, broker: KafkaBroker, topic: str) -> None:
        self._pool = pool
        self._broker = broker
        self._topic = topic
        self._written = asyncio.Event()

    def wake(self) -> None:
        """Something may have been written."""
        self._written.set()

    async def run(self) -> None:
        """Publish whenever woken, until cancelled."""
        async with self._pool.acquire() as connection:
            # A deletion that a crash undoes repeats notifications; waiting for the disk would delay the next ones.
            await connection.execute("SET synchronous_commit = off")
            while True:
                await self._written.wait()
                # Before it looks, so that what is written while it looks wakes it again.
                self._written.clear()
                while rows := await connection.fetch(SQL["outbox_head"], AT_ONCE):
                    await self._publish([(row["key"].encode(), row["body"].encode()) for row in rows])
                    await connection.execute(SQL["delete_published"], [row["id"] for row in rows])

    async def _publish(self, records: list[tuple[bytes, bytes]]) -> None:
        """Send all, then wait for all: the producer keeps the order."""
        sent = [await self._broker.publish(body, self._topic, key=key, no_confirm=True) for key, body in records]
        await asyncio.gather(*sent)
