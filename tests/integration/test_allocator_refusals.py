"""An allocator that cannot do its work says why, in a line, and ends."""

import asyncio
import re

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete

from consumers.allocator import owner, run_allocator
from consumers.errors import LogDoesNotFit
from schemas.settings import Settings
from schemas.topics import PARTITIONS, names
from storage.errors import NotMigrated, TopicMissing
from storage.kafka import admin_client
from tests.integration.allocator_world import allocating, messages, pending, processed, publish, wallet
from tests.servers.processes import walletq
from tests.servers.wait import until
from tests.traffic import right_partition

USDT = right_partition(b"USDT")


async def refuses(settings: Settings) -> LogDoesNotFit:
    """Why the allocator does not run."""
    with pytest.raises(LogDoesNotFit) as raised:
        async with asyncio.timeout(20):
            await run_allocator(settings, asyncio.Event())
    assert (raised.value.topic, raised.value.partition) == (names(settings).orders, USDT)
    return raised.value


@pytest.fixture
async def began(settings: Settings, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An allocator has processed five records; the next one has little patience with a log that does not fit."""
    monkeypatch.setattr(owner, "PATIENCE_SECONDS", 0)
    async with allocating(settings):
        await publish(settings, messages(wallet(1), *(pending(f"ord-{number}") for number in range(4))))
        await processed(settings, database, 5)
    return settings


MISFITS = {
    "next_offset = 9": "the log ends at offset 5, but the database has applied it up to 9",
    "cluster_id = 'elsewhere'": "the database belongs to the Kafka cluster elsewhere, this one is ",
    "partition_count = 16": "the topic has 12 partitions, and had 16 at first",
}
"What is changed in the partition's row, and what the refusal says of it."


async def test_a_log_that_does_not_fit_the_database_is_refused_and_nothing_of_it_is_processed(
    began: Settings, database: asyncpg.Connection
) -> None:
    fitting = await database.fetchrow("SELECT * FROM partitions WHERE partition = $1", USDT)
    for change, found in MISFITS.items():
        await database.execute(f"UPDATE partitions SET {change} WHERE partition = $1", USDT)
        refusal = await refuses(began)
        assert found in refusal.found
        assert "WALLETQ_TOPIC_PREFIX" in refusal.advice
        await database.execute(
            "UPDATE partitions SET next_offset = $2, cluster_id = $3, partition_count = $4 WHERE partition = $1",
            *(fitting[name] for name in ("partition", "next_offset", "cluster_id", "partition_count")),
        )
    await publish(began, messages(pending("ord-9")))
    await database.execute("UPDATE partitions SET cluster_id = 'elsewhere' WHERE partition = $1", USDT)
    await refuses(began)
    assert await database.fetchval("SELECT count(*) FROM orders WHERE order_id = 'ord-9'") == 0


async def test_a_log_that_starts_behind_the_place_is_refused(began: Settings, database: asyncpg.Connection) -> None:
    await database.execute("UPDATE partitions SET published_offset = 0, next_offset = 2 WHERE partition = $1", USDT)
    async with admin_client(began) as admin:
        await admin.delete_records({TopicPartition(names(began).orders, USDT): RecordsToDelete(before_offset=3)})
    refusal = str(await refuses(began))
    assert "the log starts at offset 3, but the database has applied it only up to 2" in refusal


async def test_records_deleted_after_they_were_applied_are_not_missed(
    began: Settings, database: asyncpg.Connection
) -> None:
    async with admin_client(began) as admin:
        await admin.delete_records({TopicPartition(names(began).orders, USDT): RecordsToDelete(before_offset=5)})
    async with allocating(began):
        await publish(began, messages(pending("ord-9")))
        await processed(began, database, 6)


async def test_partitions_that_are_added_are_refused_and_nothing_of_them_is_processed(
    began: Settings, database: asyncpg.Connection
) -> None:
    topic, added = names(began).orders, right_partition(b"USDT", 24)
    assert added >= PARTITIONS, "the key has moved"
    async with admin_client(began) as admin:
        await admin.create_partitions({topic: NewPartitions(24)})
        await until(lambda: partition_count(admin, topic, 24), what="the topic to have 24 partitions")
    overtaking = messages(pending("overtaking"))[0]._replace(partition=added)
    await publish(began, [overtaking])
    with pytest.raises(LogDoesNotFit, match="the topic has 24 partitions, and had 12 at first"):
        async with asyncio.timeout(20):
            await run_allocator(began, asyncio.Event())
    assert await database.fetchval("SELECT max(partition) FROM partitions WHERE topic = $1", topic) < PARTITIONS
    assert not await database.fetchval("SELECT count(*) FROM orders WHERE order_id = 'overtaking'")


async def partition_count(admin: AIOKafkaAdminClient, topic: str, wanted: int) -> bool:
    (described,) = await admin.describe_topics([topic])
    return len(described["partitions"]) == wanted


async def test_what_is_not_prepared_is_named(settings: Settings, database: asyncpg.Connection) -> None:
    elsewhere = settings.model_copy(update={"topic_prefix": "nowhere-"})
    with pytest.raises(TopicMissing, match="nowhere-order-status"):
        await run_allocator(elsewhere, asyncio.Event())
    await database.execute("DELETE FROM schema_migrations WHERE name = '0001_pipeline'")
    with pytest.raises(NotMigrated, match="0001_pipeline"):
        await run_allocator(settings, asyncio.Event())


async def test_the_command_ends_with_one_message_and_exit_code_1(
    settings: Settings, database: asyncpg.Connection
) -> None:
    topic = names(settings).orders
    await database.execute(
        "INSERT INTO partitions (topic, partition, partition_count, cluster_id) VALUES ($1, $2, 12, 'elsewhere')",
        topic,
        USDT,
    )
    ended = await walletq("allocate", settings=settings, env={"WALLETQ_LOG_LEVEL": "error"})
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert re.match(rf"{re.escape(topic)}/\d+: the database belongs to the Kafka cluster elsewhere, ", ended.stderr)
    assert ended.stdout == ""
