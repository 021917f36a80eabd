"""Servers that go away under an allocator: it waits, goes on where it was, and loses nothing."""

import asyncio
from typing import Literal

import asyncpg
import pytest
import structlog

from consumers.allocator import handler
from schemas.settings import Settings
from storage.topics import find_topics
from tests.integration.allocator_world import (
    allocating,
    assert_as_the_rules_say,
    assigned,
    messages,
    pending,
    processed,
    publish,
    reconnected,
    status,
    wallet,
)
from tests.servers.servers import Servers
from tests.servers.wait import until

TRAFFIC = [
    wallet(1),
    wallet(2, "BTC"),
    pending("ord-1"),
    pending("ord-2"),
    pending("ord-3", "BTC"),
    {"currency": "USDT"},
]


async def test_an_allocator_goes_on_when_the_database_is_back(
    settings: Settings, database: asyncpg.Connection, servers: Servers
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with allocating(settings):
            await publish(settings, messages(*TRAFFIC))
            await processed(settings, database, len(TRAFFIC))
            await servers.kill("postgres")
            await publish(settings, messages(status("ord-1", "completed"), pending("ord-4", "BTC")))
            await until(lambda: any(entry["event"] == "place_lost" for entry in logs), what="the outage to be felt")
            await servers.start("postgres")
            async with reconnected(settings) as again:
                await processed(settings, again, len(TRAFFIC) + 2)
                await assigned(again, "ord-2")
        async with reconnected(settings) as again:
            await assert_as_the_rules_say(settings, again)


async def test_an_allocator_stops_while_the_database_is_frozen_in_the_middle_of_its_transaction(
    settings: Settings, database: asyncpg.Connection, servers: Servers
) -> None:
    async with allocating(settings):
        await publish(settings, messages(wallet(1)))
        await processed(settings, database, 1)
        await database.execute("BEGIN")
        await database.execute("SELECT FROM partitions FOR UPDATE")
        await publish(settings, messages(pending("ord-1")))
        await until(lambda: blocked(settings), what="the batch to wait for the lock")
        await servers.pause("postgres")
    await servers.unpause("postgres")


async def test_an_allocator_goes_on_when_kafka_is_back(
    settings: Settings, database: asyncpg.Connection, servers: Servers
) -> None:
    async with allocating(settings):
        await publish(settings, messages(*TRAFFIC))
        await processed(settings, database, len(TRAFFIC))
        await servers.kill("kafka")
        await servers.start("kafka")
        await publish(settings, messages(status("ord-1", "completed"), pending("ord-4", "BTC")))
        await processed(settings, database, len(TRAFFIC) + 2)
        await assigned(database, "ord-2")
    await assert_as_the_rules_say(settings, database)


async def test_what_is_committed_while_kafka_is_away_is_published_when_it_is_back(
    settings: Settings, database: asyncpg.Connection, servers: Servers
) -> None:
    """The records are fetched and then held up by a lock, until Kafka is gone."""
    async with allocating(settings):
        await publish(settings, messages(wallet(1)))
        await processed(settings, database, 1)
        lock = database.transaction()
        await lock.start()
        await database.execute("SELECT FROM partitions FOR UPDATE")
        await publish(settings, messages(pending("ord-1"), pending("ord-1", amount="7")))
        await until(lambda: blocked(settings), what="the batch to wait for the lock")
        await servers.kill("kafka")
        await lock.rollback()
        await assigned(database, "ord-1")
        await servers.start("kafka")
        await publish(settings, messages(pending("ord-2")))
        await processed(settings, database, 4)
    await assert_as_the_rules_say(settings, database)


async def test_a_database_that_takes_no_writes_is_tried_again_at_growing_intervals(
    settings: Settings, database: asyncpg.Connection
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with allocating(settings):
            await publish(settings, messages(wallet(1)))
            await processed(settings, database, 1)
            await database.execute("REVOKE INSERT ON orders FROM walletq_allocator")
            await publish(settings, messages(pending("ord-1"), pending("other", "BTC", network="nowhere")))
            await processed(settings, database, 2)  # another partition goes on
            await until(lambda: any(entry.get("attempt", 0) >= 4 for entry in logs), what="a fourth attempt in a row")
            await database.execute("GRANT INSERT ON orders TO walletq_allocator")
            await processed(settings, database, 3)
    await assert_as_the_rules_say(settings, database)


async def test_an_allocator_stops_in_time_though_the_database_is_frozen(
    settings: Settings, database: asyncpg.Connection, servers: Servers
) -> None:
    async with allocating(settings, stop_seconds=10):
        await publish(settings, messages(wallet(1)))
        await processed(settings, database, 1)
        await servers.pause("postgres")
        await publish(settings, messages(pending("ord-1")))  # so that it has a batch in hand
    await servers.unpause("postgres")
    async with allocating(settings):
        await processed(settings, database, 2)
    await assert_as_the_rules_say(settings, database)


async def test_an_allocator_stops_in_time_though_kafka_is_frozen(
    settings: Settings, database: asyncpg.Connection, servers: Servers
) -> None:
    async with allocating(settings, stop_seconds=10):
        await publish(settings, messages(wallet(1)))
        await processed(settings, database, 1)
        lock = database.transaction()
        await lock.start()
        await database.execute("SELECT FROM partitions FOR UPDATE")
        await publish(settings, messages(pending("ord-1")))
        await until(lambda: blocked(settings), what="the batch to wait for the lock")
        await servers.pause("kafka")
        await lock.rollback()
        await assigned(database, "ord-1")  # so that it has a notification to publish


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_an_allocator_without_a_membership_stops_in_time_though_kafka_is_away(
    settings: Settings, servers: Servers, monkeypatch: pytest.MonkeyPatch, fault: Literal["kill", "pause"]
) -> None:
    away = asyncio.Event()

    async def find_the_last_time(settings: Settings, *wanted: str) -> dict[str, int]:
        found = await find_topics(settings, *wanted)
        await getattr(servers, fault)("kafka")
        away.set()
        return found

    monkeypatch.setattr(handler, "find_topics", find_the_last_time)
    with structlog.testing.capture_logs() as logs:
        async with allocating(settings, stop_seconds=5):
            await away.wait()
            if fault == "kill":
                await until(lambda: any(entry["event"] == "membership_lost" for entry in logs))


async def blocked(settings: Settings) -> bool:
    """Whether a session of the allocator waits for a lock."""
    async with reconnected(settings) as again:
        return bool(
            await again.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND application_name LIKE 'walletq allocate%' AND datname = current_database()"
            )
        )
