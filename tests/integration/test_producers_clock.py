"""The clock against a real Kafka and a real database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from producers.clock import Clock, run_clock
from schemas.events import Event, OrderStatusChanged, WalletCooled, parse_event
from schemas.settings import Settings
from schemas.topics import names
from storage.errors import NotMigrated, ServerUnreachable, TopicMissing
from storage.kafka import admin_client
from storage.topics import create_topics
from tests.integration.test_producers_publisher import records
from tests.servers.servers import Servers
from tests.servers.wait import until

ORDER = (
    "INSERT INTO orders (currency, order_id, status, network, amount, email, locale, expires_at, queue_place,"
    " pending_offset, pending_at) VALUES ($1, $2, 'pending', 'n', '1', 'ann@example.com', 'en',"
    " now() + make_interval(secs => $3), $4, $4, now())"
)
COOLING = (
    "INSERT INTO wallets (currency, network, address, status, cooling_assignment_id, cooling_until, added_offset)"
    " VALUES ($1, 'n', $2, 'cooling', gen_random_uuid(), now() + make_interval(secs => $3), 0)"
)


async def test_expired_orders_are_cancelled_and_others_left_alone(
    settings: Settings, database: asyncpg.Connection
) -> None:
    await database.execute(ORDER, "BTC", "expired", -1.0, 1)
    await database.execute(ORDER, "BTC", "not yet", 600.0, 2)
    await database.execute(ORDER, "GONE", "of a currency that left the catalogue", -1.0, 3)
    async with running(settings):
        found = await until(lambda: published(settings, 2))
    assert {(event.currency, event.order_id) for event in found if isinstance(event, OrderStatusChanged)} == {
        ("BTC", "expired"),
        ("GONE", "of a currency that left the catalogue"),
    }
    assert {(event.status, event.reason, event.actor) for event in found if isinstance(event, OrderStatusChanged)} == {
        ("cancelled", "payment_timeout", "clock")
    }


async def test_cooled_wallets_are_told_with_the_assignment_that_they_cool_from(
    settings: Settings, database: asyncpg.Connection
) -> None:
    await database.execute(COOLING, "BTC", "cooled", -1.0)
    await database.execute(COOLING, "BTC", "cooling", 600.0)
    await database.execute(COOLING, "GONE", "of a currency that left the catalogue", -1.0)
    async with running(settings):
        (event,) = await until(lambda: published(settings, 1))
    assert isinstance(event, WalletCooled)
    assert event.address == "cooled"
    assert event.assignment_id == await database.fetchval(
        "SELECT cooling_assignment_id FROM wallets WHERE address = 'cooled'"
    )


async def test_two_clocks_publish_the_same_event(settings: Settings, database: asyncpg.Connection) -> None:
    await database.execute(ORDER, "BTC", "expired", -1.0, 1)
    async with running(settings), running(settings):
        found = await until(lambda: published(settings, 2))
    assert found[0] == found[1]


async def test_clock_does_not_repeat_itself_while_the_allocator_is_behind(
    settings: Settings, database: asyncpg.Connection
) -> None:
    await database.execute(ORDER, "BTC", "expired", -1.0, 1)
    clock = await Clock.open(settings)
    try:
        await clock.look(now=0)
        await clock.look(now=30)
        assert len(await records(settings)) == 1
        await clock.look(now=61)
        assert len(await records(settings)) == 2
    finally:
        await clock.close()


async def test_look_is_bounded_and_the_next_one_goes_on(
    settings: Settings, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.clock.PAGE", 2)
    for number in range(3):
        await database.execute(ORDER, "BTC", f"ord-{number}", -10.0 + number, number)
    clock = await Clock.open(settings)
    try:
        assert await clock.look(now=0)
        await database.execute("DELETE FROM orders WHERE order_id <> 'ord-2'")  # as if they were applied
        assert not await clock.look(now=1)
    finally:
        await clock.close()
    assert [event.order_id for event in await published(settings, 3) if isinstance(event, OrderStatusChanged)] == [
        "ord-0",
        "ord-1",
        "ord-2",
    ]


async def test_clock_outlives_its_servers(settings: Settings, database: asyncpg.Connection, servers: Servers) -> None:
    async with running(settings):
        await database.execute(ORDER, "BTC", "before", -1.0, 1)
        await until(lambda: published(settings, 1))
        await servers.kill("postgres")
        await servers.kill("kafka")
        await servers.start("postgres")
        await servers.start("kafka")
        again = await asyncpg.connect(settings.need_database())
        await again.execute(ORDER, "BTC", "after", -1.0, 2)
        await again.close()
        await until(lambda: published(settings, 2))


async def test_clock_waits_for_a_topic_that_a_broker_does_not_know_any_more(
    settings: Settings, database: asyncpg.Connection, servers: Servers
) -> None:
    """As one that has just come back may do for a moment; here for longer."""
    topic = names(settings).orders
    async with running(settings) as clock:
        await database.execute(ORDER, "BTC", "before", -1.0, 1)
        await until(lambda: published(settings, 1))
        async with admin_client(settings) as admin:
            await admin.delete_topics([topic])
        await servers.kill("postgres")
        await servers.start("postgres")
        again = await asyncpg.connect(settings.need_database())
        connected = "SELECT FROM pg_stat_activity WHERE application_name = 'walletq clock'"
        await until(lambda: again.fetch(connected), what="the clock to connect again")
        await again.execute(ORDER, "BTC", "after", -1.0, 2)
        await again.close()
        assert not clock.done()
        await create_topics(settings)
        found = await until(lambda: published(settings, 2))
    assert {event.order_id for event in found if isinstance(event, OrderStatusChanged)} == {"before", "after"}


async def test_servers_must_be_there_at_the_start(settings: Settings) -> None:
    away = settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(ServerUnreachable):
        await run_clock(away, asyncio.Event())
    with pytest.raises(TopicMissing):
        await run_clock(settings.model_copy(update={"topic_prefix": "nowhere-"}), asyncio.Event())


async def test_database_must_be_migrated_at_the_start(settings: Settings, database: asyncpg.Connection) -> None:
    await database.execute("DELETE FROM schema_migrations")
    with pytest.raises(NotMigrated):
        await run_clock(settings, asyncio.Event())


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator["asyncio.Task[None]"]:
    """A clock in the background; it must end in good order."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_clock(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


async def published(settings: Settings, count: int) -> list[Event]:
    """The events on order-status; none before there are so many."""
    found = [parse_event(record.value).event for record in await records(settings)]
    return found if len(found) >= count else []
