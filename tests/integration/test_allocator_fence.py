"""Two owners of one partition: whoever comes second with a place that has moved changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg
import pytest

from consumers.allocator.decide import decide
from consumers.allocator.in_hand import InHand
from consumers.allocator.owner import Owner
from consumers.allocator.ports import Session
from consumers.allocator.session import DatabaseSession
from consumers.allocator.state import Batch, Changes, Counts, Entry, Step
from consumers.allocator.store import Store
from consumers.errors import Fenced
from schemas.catalogue import Catalogue, read_catalogue
from schemas.settings import Settings
from schemas.topics import PARTITIONS, names
from storage.database import AWAY, connect
from tests.integration.allocator_world import (
    FakeLog,
    allocating,
    assigned,
    messages,
    outbox_of,
    owning,
    partition_row,
    pending,
    processed,
    publish,
    status,
    store_of,
    wallet,
)
from tests.servers.topics import consumed
from tests.servers.wait import until

TABLES = ("partitions", "catalogues", "orders", "wallets", "assignments", "dead_letters")
VERBS = ("DELETE FROM", "TRUNCATE", "DROP TABLE IF EXISTS")
WAITERS = "SELECT true FROM pg_locks WHERE NOT granted LIMIT 1"
IDLE_LIMIT = "idle_in_transaction_session_timeout"


@pytest.fixture
def catalogue() -> Catalogue:
    return read_catalogue()


async def everything(database: asyncpg.Connection) -> dict[str, list[str]]:
    """Every row of the allocator's tables, as text."""
    return {table: sorted(row[0] for row in await database.fetch(f"SELECT t::text FROM {table} t")) for table in TABLES}


async def apply(store: Store, catalogue: Catalogue, start: int, entries: list[Entry]) -> None:
    batch = Batch(start, entries[-1].offset + 1, entries)
    await store.apply(batch, decide(await store.gather(batch), entries, catalogue, *at_of(store)), 0)


def at_of(store: Store) -> tuple[str, int]:
    return store.topic, store.partition


async def test_a_batch_at_a_place_that_has_moved_is_fenced_and_writes_nothing(
    settings: Settings, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    log = FakeLog()
    log.append(wallet(1), pending("ord-1"), status("ord-1", "completed"), pending("ord-2"), {"currency": "USDT"})
    entries = log.entries(catalogue)
    first, second = store_of(settings, catalogue), store_of(settings, catalogue)
    try:
        places = [await store.take_place(PARTITIONS, log.cluster) for store in (first, second)]
        assert [place.next_offset for place in places] == [0, 0]
        await apply(first, catalogue, 0, entries[:2])
        before = await everything(database)
        for those in (entries[:1], entries[:2], entries):  # behind, at and past where the first is now
            with pytest.raises(Fenced):
                await apply(second, catalogue, 0, those)
        with pytest.raises(Fenced):
            await apply(second, catalogue, 3, entries[3:])  # a place that nobody has reached yet
        assert await everything(database) == before
        assert (await second.take_place(PARTITIONS, log.cluster)).next_offset == 2
        await apply(second, catalogue, 2, entries[2:])
        with pytest.raises(Fenced):
            await apply(first, catalogue, 2, entries[2:])
    finally:
        await first.close()
        await second.close()
    assert (await partition_row(settings, database, log.partition))["next_offset"] == 5


async def test_of_two_batches_at_the_same_place_at_the_same_time_one_is_applied(
    settings: Settings, catalogue: Catalogue
) -> None:
    log = FakeLog()
    log.append(*(pending(f"ord-{number}") for number in range(50)))
    stores = [store_of(settings, catalogue) for _ in range(4)]
    try:
        for store in stores:
            await store.take_place(PARTITIONS, log.cluster)
        outcomes = await asyncio.gather(
            *(apply(store, catalogue, 0, log.entries(catalogue)) for store in stores), return_exceptions=True
        )
    finally:
        for store in stores:
            await store.close()
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, Fenced) for outcome in outcomes) == 3


async def test_a_zombie_that_goes_on_changes_nothing_and_finds_its_place_again(
    settings: Settings, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    log = FakeLog()
    log.append(wallet(1), pending("ord-1"))
    outbox = outbox_of(settings)
    async with owning(settings, catalogue, log, outbox) as zombie:
        await until(lambda: zombie.next_offset == 2)
        log.gate.clear()  # it has the first of what comes next in its hands, and stops
        log.append(status("ord-1", "completed"), pending("ord-2"), pending("ord-3"))
        await until(lambda: log.position == 3)
        others = log.reader_of_the_same()
        async with owning(settings, catalogue, others, outbox) as heir:
            await until(lambda: heir.next_offset == 5)
        before = await everything(database)
        log.gate.set()
        await until(lambda: log.sought == [0, 5], what="the zombie to take its place again")
        assert await everything(database) == before
        log.append(status("ord-2", "completed"))
        await until(lambda: zombie.next_offset == 6)
    await outbox.close()
    rows = await database.fetch("SELECT order_id FROM assignments ORDER BY assigned_offset")
    assert [row["order_id"] for row in rows] == ["ord-1", "ord-2", "ord-3"]
    notifications = await consumed(settings, names(settings).notifications)
    assert len({(record.key, record.value) for record in notifications}) == 3  # repeated ones are the same


class StoppedBeforeApply(DatabaseSession):
    """It stops before it writes, until the gate opens."""

    gate = asyncio.Event()
    stopped = asyncio.Event()

    async def apply(self, topic: str, partition: int, step: Step) -> bool:
        self.stopped.set()
        await self.gate.wait()
        return await super().apply(topic, partition, step)


async def test_a_zombie_that_stops_before_it_writes_changes_nothing_and_goes_on(
    settings: Settings, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    """It has read, and decided, that the wallet goes to the order that waits; its heir has given it to another."""

    async def connect_as(application: str) -> Session:
        return StoppedBeforeApply(await connect(settings.need_database(), application=application))

    log, outbox = FakeLog(), outbox_of(settings)
    log.append(wallet(1), pending("ord-1"), status("ord-1", "completed"), pending("ord-2"))
    heir = store_of(settings, catalogue)
    await heir.take_place(PARTITIONS, log.cluster)
    await apply(heir, catalogue, 0, log.entries(catalogue)[:2])
    store = Store(connect_as, heir.topic, heir.partition, catalogue)
    zombie = Owner(store, log, outbox, catalogue, batch_records=100, in_hand=InHand())
    running = asyncio.create_task(zombie.run())
    try:
        await StoppedBeforeApply.stopped.wait()
        await apply(heir, catalogue, 2, log.entries(catalogue)[2:3])
        StoppedBeforeApply.gate.set()
        await until(lambda: running.done() or zombie.next_offset == 4, what="the zombie to have gone on")
        zombie.stop()
        await running
    finally:
        running.cancel()
        await heir.close()
        await outbox.close()
    rows = await database.fetch("SELECT order_id, released_offset FROM assignments ORDER BY assigned_offset")
    assert [tuple(row) for row in rows] == [("ord-1", 2), ("ord-2", None)]


async def test_a_state_that_others_have_moved_on_is_none_to_decide_on(settings: Settings, catalogue: Catalogue) -> None:
    log = FakeLog()
    log.append(wallet(1), pending("ord-1"), status("ord-1", "completed"))
    entries = log.entries(catalogue)
    owner, zombie = store_of(settings, catalogue), store_of(settings, catalogue)
    try:
        for store in (owner, zombie):
            await store.take_place(PARTITIONS, log.cluster)
        await apply(owner, catalogue, 0, entries)
        with pytest.raises(Fenced):
            await zombie.gather(Batch(0, 2, entries[:2]))
    finally:
        await owner.close()
        await zombie.close()


async def test_a_batch_whose_client_is_gone_while_it_waits_is_written_once_and_whole(
    settings: Settings, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    """The server hears of a lost client only when it answers it: the statement goes on."""
    log = FakeLog()
    log.append(wallet(1), pending("ord-1"), pending("ord-2"))
    entries = log.entries(catalogue)
    gone, heir = store_of(settings, catalogue), store_of(settings, catalogue)
    try:
        await gone.take_place(PARTITIONS, log.cluster)
        await apply(gone, catalogue, 0, entries[:1])
        batch = Batch(1, 3, entries[1:])
        changes = decide(await gone.gather(batch), batch.entries, catalogue, *at_of(gone))
        async with database.transaction():
            await database.execute("SELECT FROM partitions FOR UPDATE")
            applying = asyncio.create_task(gone.apply(batch, changes, 0))
            await until(partial(database.fetchval, WAITERS), what="the batch to wait for the lock")
            await gone.close()
            with pytest.raises(AWAY):
                await applying
        await until(
            partial(database.fetchval, "SELECT next_offset = 3 FROM partitions"), what="the batch to be written"
        )
        assert (await heir.take_place(PARTITIONS, log.cluster)).next_offset == 3
        assert [item async for item in heir.unpublished(1, 3)] == changes.notifications
    finally:
        await gone.close()
        await heir.close()


async def test_an_owner_that_is_stopped_holds_no_lock(settings: Settings, database: asyncpg.Connection) -> None:
    connection = await connect(settings.need_database(), "walletq_allocator")
    limit = await connection.fetchval("SELECT setting::int FROM pg_settings WHERE name = $1", IDLE_LIMIT)
    assert 0 < limit < settings.session_timeout_ms
    await connection.execute(f"SET {IDLE_LIMIT} = 200")  # to wait less
    await DatabaseSession(connection).take_place(names(settings).orders, 0, PARTITIONS, "cluster")
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT FROM partitions FOR UPDATE")
    await database.execute("UPDATE partitions SET partition_count = partition_count")  # waits for the lock
    connection.terminate()


async def test_a_locked_partition_does_not_hold_up_another(settings: Settings, database: asyncpg.Connection) -> None:
    async with allocating(settings):
        await publish(settings, messages(wallet(1, "BTC"), wallet(2, "ETH")))
        await processed(settings, database, 2)
        lock = database.transaction()
        await lock.start()
        await database.execute("SELECT FROM wallets WHERE currency = 'BTC' FOR UPDATE")
        await publish(settings, messages(pending("slow", "BTC"), pending("quick", "ETH")))
        await assigned(database, "quick")
        assert await database.fetchval("SELECT count(*) FROM assignments WHERE order_id = 'slow'") == 0
        await lock.rollback()
        await assigned(database, "slow")


async def test_the_allocator_writes_as_its_role_and_cannot_delete(
    settings: Settings, database: asyncpg.Connection
) -> None:
    await database.execute("ALTER TABLE orders ADD COLUMN written_by text DEFAULT current_user")
    async with allocating(settings):
        await publish(settings, messages(pending("ord-1")))
        await processed(settings, database, 1)
    assert await database.fetchval("SELECT written_by FROM orders") == "walletq_allocator"
    session = await connect(settings.need_database(), "walletq_allocator")
    refused = [f"{verb} {table}" for table in (*TABLES, "deliveries", "schema_migrations") for verb in VERBS]
    refused += ["UPDATE dead_letters SET reason = ''", "UPDATE catalogues SET content = ''", "CREATE TABLE mine ()"]
    try:
        for statement in refused:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await session.execute(statement)
    finally:
        await session.close()


class Interrupted:
    """A connection on which something happens after the first statement that is executed."""

    def __init__(self, connection: asyncpg.Connection, then: Callable[[], Awaitable[None]]) -> None:
        self._connection = connection
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, query: str, *arguments: object) -> None:
        await self._connection.execute(query, *arguments)
        await self._then()


async def test_a_place_that_had_to_be_waited_for_comes_with_the_catalogue_recorded_meanwhile(
    settings: Settings, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    at = (names(settings).orders, 0)
    connections = [await connect(settings.need_database(), "walletq_allocator") for _ in range(3)]
    opened, recorded = asyncio.Event(), asyncio.Event()

    async def between() -> None:
        opened.set()
        await recorded.wait()

    old, new = DatabaseSession(connections[0]), DatabaseSession(Interrupted(connections[1], between))
    await old.take_place(*at, PARTITIONS, "cluster")
    taking = asyncio.create_task(new.take_place(*at, PARTITIONS, "cluster"))
    await opened.wait()
    async with connections[2].transaction():
        await connections[2].execute("SELECT FROM partitions FOR UPDATE")
        nothing = Changes([], [], [], [], [], [], [], [], Counts(applied=1))
        moving = asyncio.create_task(old.apply(*at, Step(0, 1, 0, nothing, [], catalogue)))
        await until(partial(database.fetchval, WAITERS), what="who moves the place to wait")
        recorded.set()
        await until(partial(database.fetchval, WAITERS + " OFFSET 1"), what="who takes the place to wait behind it")
    assert await moving
    place = await taking
    assert (place.next_offset, place.catalogue) == (1, catalogue.sha256)
    for connection in connections:
        connection.terminate()
