"""Consumers that are not ours, in our groups."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import InconsistentGroupProtocolError
from aiokafka.protocol.group import LeaveGroupRequest

from schemas.settings import Settings
from storage.kafka import admin_client, client_options
from tests.servers.wait import until


@asynccontextmanager
async def taking_over(settings: Settings, group: str, topic: str) -> AsyncIterator[None]:
    """A consumer that shares partitions out in a way that ours do not know has the group, and ours are out of it."""
    consumers: list[AIOKafkaConsumer] = []

    async def joined() -> bool:
        await _expel_all(settings, group)
        consumer = AIOKafkaConsumer(
            topic, **client_options(settings), group_id=group, partition_assignment_strategy=[RangePartitionAssignor]
        )
        try:
            await consumer.start()
        except InconsistentGroupProtocolError:  # one of ours was faster
            await consumer.stop()
            return False
        consumers.append(consumer)
        return True

    await until(joined, 20, "the outsider to have the group")
    try:
        yield
    finally:
        await consumers[0].stop()


async def _expel_all(settings: Settings, group: str) -> None:
    async with admin_client(settings) as admin:
        coordinator = await admin.find_coordinator(group)
        (described,) = await admin.describe_consumer_groups([group])
        for member_id, *_ in described.groups[0][5]:
            await admin._send_request(LeaveGroupRequest(group, member_id), coordinator)  # noqa: SLF001
