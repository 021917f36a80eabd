"""The program: `python -m …per_event.app BOOTSTRAP ORDERS NOTIFICATIONS DATABASE_URL WORKERS ACKS`."""

import asyncio
import logging
import sys

import asyncpg
import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker

from benchmarks.contenders.per_event.allocation import Allocation
from benchmarks.contenders.per_event.handler import Handler, read
from benchmarks.contenders.per_event.relay import Relay
from schemas.catalogue import read_catalogue


async def main(
    bootstrap_servers: str, orders: str, notifications: str, database_url: str, workers: str, acks: str
) -> None:
    """Run until SIGTERM."""
    connections = int(workers) + 1  # one for the relay
    broker = KafkaBroker(
        bootstrap_servers,
        enable_idempotence=True,
        allow_auto_create_topics=False,
        apply_types=False,  # the decoder has validated the event
        logger=logging.getLogger("per-event"),
        log_level=logging.DEBUG,  # of the two lines about each event; errors are logged as errors
    )
    async with (
        asyncpg.create_pool(database_url, min_size=connections, max_size=connections, reset=_keep_session) as pool,
        asyncio.TaskGroup() as tasks,
    ):
        relay = Relay(pool, broker, notifications)
        subscriber = broker.subscriber(
            orders,
            group_id=f"{orders}.per-event",
            auto_offset_reset="earliest",
            max_workers=int(workers),  # each has partitions of its own, and a fetch that holds up no other
            ack_policy=AckPolicy.NACK_ON_ERROR if acks == "each" else AckPolicy.MANUAL,
            decoder=read,
        )
        handler = Handler(Allocation(pool, read_catalogue()), relay)
        subscriber(handler.apply if acks == "each" else handler.handle)
        relaying = tasks.create_task(relay.run())

        # Coroutines: FastStream calls plain functions in a thread.
        async def publish_what_is_left() -> None:
            relay.wake()

        async def end_relay() -> None:
            relaying.cancel()

        await FastStream(broker, after_startup=[publish_what_is_left], on_shutdown=[end_relay]).run()


async def _keep_session(_connection: asyncpg.Connection) -> None:
    """Events leave nothing in a session that would have to be reset, at the cost of a round trip."""


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
