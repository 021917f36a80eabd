"""What holds up one partition or one topic, while its servers answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.settings import Settings
from schemas.topics import names
from storage.kafka import admin_client
from tests.traffic import right_partition


@asynccontextmanager
async def locked_partition(settings: Settings, database: asyncpg.Connection, key: bytes) -> AsyncIterator[None]:
    """Somebody holds the row of the partition of the orders' topic that has the key."""
    await database.execute("SET idle_in_transaction_session_timeout = 0")
    async with database.transaction():
        held = "SELECT 1 FROM partitions WHERE topic = $1 AND partition = $2 FOR UPDATE"
        assert await database.fetchval(held, names(settings).orders, right_partition(key))
        yield


async def largest_notification(settings: Settings, size: int) -> None:
    """The brokers take no batch of notifications of more bytes."""
    configs = {"max.message.bytes": str(size)}
    topic = ConfigResource(ConfigResourceType.TOPIC, names(settings).notifications, configs=configs)
    async with admin_client(settings) as admin:
        await admin.alter_configs([topic])
