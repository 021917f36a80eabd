"""The program: `python -m benchmarks.contenders.redis_queue.app BOOTSTRAP_SERVERS ORDERS NOTIFICATIONS REDIS_URL`."""

import asyncio
import signal
import sys
from datetime import UTC, datetime

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from redis.asyncio import Redis

from benchmarks.contenders.redis_queue.allocation import Allocation
from benchmarks.contenders.redis_queue.workers import Workers
from schemas.catalogue import read_catalogue
from schemas.events import EVENT


async def main(bootstrap_servers: str, orders: str, notifications: str, redis_url: str) -> None:
    """Run until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=f"{orders}.redis-queue",
        group_instance_id="redis-queue",  # a static member: after a crash it has its partitions again at once
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=20,  # a fetch is for all partitions: idle ones would hold up busy ones
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True)
    redis = Redis.from_url(redis_url, decode_responses=True)
    allocation = Allocation(redis, read_catalogue())

    async def handle(record: ConsumerRecord) -> "asyncio.Future[object] | None":
        at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        notification = await allocation.handle(EVENT.validate_json(record.value), at)
        if notification is None:
            return None
        return await producer.send(  # type: ignore[no-any-return]
            notifications, notification.model_dump_json().encode(), notification.order_id.encode()
        )

    async with redis, producer, asyncio.TaskGroup() as tasks:
        workers = Workers(consumer, handle, tasks)
        consumer.subscribe([orders], listener=workers)
        async with consumer:
            await stopped.wait()
            await workers.stop()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
