"""`walletq topics` and `walletq migrate`: what they make is right, once or twice or twice at once."""

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.settings import Settings
from schemas.topics import names
from storage.database import connect
from storage.errors import MigrationChanged, NotMigrated
from storage.kafka import admin_client
from storage.migrations import check_migrated, migrate
from storage.topics import check_topics, create_topics
from tests.servers.proxy import proxying
from tests.servers.servers import Servers
from tests.servers.wait import until


async def test_topics_are_created_once(settings: Settings) -> None:
    assert await create_topics(settings) == []
    assert await check_topics(settings) == []


async def test_a_broker_that_stood_still_is_waited_for(settings: Settings, servers: Servers) -> None:
    """Its controller has taken it for dead: for some milliseconds, every second time, it names no broker at all."""
    for _ in range(4):
        await servers.pause("kafka")
        await asyncio.sleep(2.5)  # the broker's session passes
        await servers.unpause("kafka")
        until_settled = time.monotonic() + 0.3
        while time.monotonic() < until_settled:
            assert await create_topics(settings) == []


async def test_two_may_create_the_topics_at_once(settings: Settings) -> None:
    another = settings.model_copy(update={"topic_prefix": settings.topic_prefix + "again-"})
    try:
        created = await asyncio.gather(create_topics(another), create_topics(another))
        assert sorted(created[0] + created[1]) == sorted(topics_of(another))
        assert await check_topics(another) == []
    finally:
        async with admin_client(another) as admin:
            await admin.delete_topics(topics_of(another))


async def test_check_says_what_is_missing_and_what_is_different(settings: Settings) -> None:
    of = names(settings)
    async with admin_client(settings) as admin:
        await admin.delete_topics([of.notifications])
        changed = ConfigResource(ConfigResourceType.TOPIC, of.orders, {"cleanup.policy": "compact"})
        await admin.alter_configs([changed])

    async def all_problems() -> list[str]:
        problems = await check_topics(settings)
        return problems if len(problems) >= 4 else []

    problems = await until(all_problems)
    assert any(problem.startswith(f"{of.notifications}: does not exist") for problem in problems)
    assert f"{of.orders}: cleanup.policy is compact, expected delete" in problems
    assert f"{of.orders}: message.timestamp.type is CreateTime, expected LogAppendTime" in problems
    assert await create_topics(settings) == [of.notifications]


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="there is no IPv6 here")
async def test_kafka_is_reached_by_an_ipv6_address(settings: Settings) -> None:
    host, port = settings.need_kafka().rsplit(":", 1)
    async with proxying((host, int(port)), host="::1") as proxy:
        over = Settings.model_validate(settings.model_dump() | {"kafka_bootstrap_servers": proxy.address})
        assert await check_topics(over) == []


async def test_two_may_migrate_at_once_and_a_third_finds_nothing_to_do(empty: str) -> None:
    applied = await asyncio.gather(migrate(empty), migrate(empty))
    assert min(map(len, applied)) == 0
    assert max(applied, key=len)[0] == "0001_pipeline"
    assert await migrate(empty) == []
    connection = await connect(empty)
    try:
        await check_migrated(connection)
    finally:
        await connection.close()


async def test_changed_migration_is_refused(settings: Settings, database: asyncpg.Connection) -> None:
    await database.execute("UPDATE schema_migrations SET sha256 = 'another' WHERE name = '0001_pipeline'")
    with pytest.raises(MigrationChanged, match="0001_pipeline was applied with another content"):
        await migrate(settings.need_database())


async def test_database_without_tables_is_told_apart(empty: str) -> None:
    connection = await connect(empty)
    try:
        with pytest.raises(NotMigrated, match="Run `walletq migrate`"):
            await check_migrated(connection)
    finally:
        await connection.close()


@pytest.fixture
async def empty(settings: Settings) -> str:
    """The URL of a database without any table."""
    url = settings.need_database()
    connection = await connect(url)
    try:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    finally:
        await connection.close()
    return url


def topics_of(settings: Settings) -> list[str]:
    of = names(settings)
    return [of.orders, of.notifications, of.dead_letters(of.orders), of.dead_letters(of.notifications)]
