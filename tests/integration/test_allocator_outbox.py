"""The outbox: what is committed is published, whoever has to do it, and always in the same bytes."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime

import asyncpg
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from consumers.allocator.decide import decide
from consumers.allocator.outbox import notification_message
from consumers.allocator.state import Batch, KeptDeadLetter, Notification
from consumers.allocator.store import PAGE, Store
from consumers.dead_letters import dead_letter_message
from consumers.messages import Message
from schemas.catalogue import Catalogue, read_catalogue
from schemas.events import WalletAssigned
from schemas.settings import Settings
from schemas.topics import MAX_KEPT_BYTES, PARTITIONS, names
from storage.database import REFUSED
from storage.kafka import admin_client
from tests.integration.allocator_world import (
    FakeLog,
    FakeRecord,
    allocating,
    assert_as_the_rules_say,
    dead_letters,
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
from tests.servers.servers import Servers
from tests.servers.topics import consumed
from tests.servers.wait import until

TRACE = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


@pytest.fixture
def catalogue() -> Catalogue:
    return read_catalogue()


@pytest.fixture
def log() -> FakeLog:
    """Assignments at once and after waiting, and dead letters, with everything whose bytes could differ."""
    log = FakeLog()
    log.append(*(wallet(number) for number in range(3)))
    log.append(pending("заказ-№7 «✓» 🦊", expires_at="2026-11-22T23:59:59.123456+05:30"), headers=[TRACE])
    log.append(pending('quote"back\\slash', expires_at="2026-11-22T12:00:00.000001-11:45", amount="0250.000000"))
    log.append(pending("x" * 64, expires_at="2026-11-22T12:00:00.999999999Z"))
    log.append(pending("waits\u00a0for it"), headers=[TRACE])
    log.append(pending("too much", amount="5001"), headers=[TRACE])
    log.append(status("x" * 64, "completed"))
    log.records.append(FakeRecord(len(log.records), b"\xff\x00", None, headers=[TRACE]))
    log.records.append(FakeRecord(len(log.records), None, b"g" * (MAX_KEPT_BYTES + 1)))
    log.append(status("ended twice", "failed"), status("ended twice", "completed"))
    return log


async def commit_only(store: Store, catalogue: Catalogue, log: FakeLog) -> list[Notification | KeptDeadLetter]:
    """Apply the whole log and do not publish; what was to be published, as it is in memory."""
    place = await store.take_place(PARTITIONS, log.cluster)
    entries = log.entries(catalogue)
    batch = Batch(place.next_offset, entries[-1].offset + 1, entries)
    changes = decide(await store.gather(batch), entries, catalogue, store.topic, store.partition)
    kept = await store.apply(batch, changes, 0)
    return [*changes.notifications, *kept]


def as_messages(settings: Settings, partition: int, kept: list[Notification | KeptDeadLetter]) -> list[Message]:
    of = names(settings)
    return [
        notification_message(of, item)
        if isinstance(item, Notification)
        else dead_letter_message(of.orders, partition, item)
        for item in kept
    ]


async def test_a_message_has_the_same_bytes_from_memory_and_from_the_database(
    settings: Settings, catalogue: Catalogue, log: FakeLog
) -> None:
    store = store_of(settings, catalogue)
    try:
        in_memory = await commit_only(store, catalogue, log)
        in_database = [item async for item in store.unpublished(0, len(log.records))]
        one_by_one = [item for n in range(len(log.records)) async for item in store.unpublished(n, n + 1)]
    finally:
        await store.close()
    assert len(in_memory) == 8
    wanted = as_messages(settings, log.partition, in_memory)
    assert as_messages(settings, log.partition, in_database) == wanted
    assert sorted(as_messages(settings, log.partition, one_by_one), key=repr) == sorted(wanted, key=repr)
    expiries = [
        WalletAssigned.model_validate_json(message.value or b"").expires_at
        for message in wanted
        if message.topic == names(settings).notifications
    ]
    assert expiries[:3] == [
        datetime(2026, 11, 22, 18, 29, 59, 123456, UTC),
        datetime(2026, 11, 22, 23, 45, 0, 1, UTC),
        datetime(2026, 11, 22, 12, 0, 0, 999999, UTC),
    ]


async def test_what_was_committed_and_not_published_is_published_by_the_next_owner(
    settings: Settings, database: asyncpg.Connection, catalogue: Catalogue, log: FakeLog
) -> None:
    store = store_of(settings, catalogue)
    in_memory = await commit_only(store, catalogue, log)
    await store.close()
    assert (await partition_row(settings, database, log.partition))["published_offset"] == 0
    outbox = outbox_of(settings)
    end = len(log.records)
    async with owning(settings, catalogue, log, outbox) as owner:
        await until(lambda: log.sought == [end], what="the owner to take its place")
        assert owner.next_offset == end

        async def noted() -> bool:
            return bool((await partition_row(settings, database, log.partition))["published_offset"] == end)

        await until(noted, what="the watermark to be noted though nothing comes")
    await outbox.close()
    of = names(settings)
    published = [
        Message(record.topic, record.key, record.value, list(record.headers))
        for record in [*await consumed(settings, of.notifications), *await dead_letters(settings)]
    ]
    assert sorted(published, key=repr) == sorted(as_messages(settings, log.partition, in_memory), key=repr)


class PagesPublished:
    """Acknowledges what it is given, and keeps it, with the watermark and the seeks of that moment."""

    def __init__(self, watermark: Callable[[], Awaitable[int]], log: FakeLog) -> None:
        self.pages: list[list[Notification | KeptDeadLetter]] = []
        self.watermarks: list[int] = []
        self._watermark = watermark
        self._log = log

    async def publish(self, _partition: int, kept: Iterable[Notification | KeptDeadLetter]) -> None:
        """See Publisher."""
        assert not self._log.sought, "the place is used before everything is published"
        self.pages.append(list(kept))
        self.watermarks.append(await self._watermark())


async def test_a_long_outbox_is_published_again_page_by_page(
    settings: Settings, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    log = FakeLog()
    for number in range(800):
        log.append(wallet(number), pending(f"ord-{number}"), {"currency": "USDT"})
    store = store_of(settings, catalogue)
    wanted = as_messages(settings, log.partition, await commit_only(store, catalogue, log))
    await store.close()

    async def watermark() -> int:
        return int((await partition_row(settings, database, log.partition))["published_offset"])

    publisher = PagesPublished(watermark, log)
    async with owning(settings, catalogue, log, publisher):
        await until(lambda: log.sought)
    published = as_messages(settings, log.partition, [item for page in publisher.pages for item in page])
    for topic in {message.topic for message in wanted}:
        assert [one for one in published if one.topic == topic] == [one for one in wanted if one.topic == topic]
    assert all(len(page) <= PAGE for page in publisher.pages)
    assert publisher.watermarks == [0, PAGE, 2 * PAGE]


async def test_what_the_broker_does_not_take_is_not_published(settings: Settings, catalogue: Catalogue) -> None:
    log = FakeLog()
    log.append(wallet(1), pending("ord-1"))
    topic = names(settings).notifications
    store, outbox = store_of(settings, catalogue), outbox_of(settings)

    async def refused() -> bool:
        try:
            await outbox.publish(log.partition, kept)
        except KafkaError:
            return True
        return False

    try:
        kept = await commit_only(store, catalogue, log)
        async with admin_client(settings) as admin:
            await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic, configs={"max.message.bytes": "100"})]
            )
        await until(refused)  # the brokers hear of it some time afterwards
    finally:
        await store.close()
        await outbox.close()


async def test_who_gives_up_stops_nobody_whose_messages_went_out_together_with_his(
    settings: Settings, servers: Servers, catalogue: Catalogue
) -> None:
    log = FakeLog()
    log.append(wallet(1), pending("ord-1"))
    store, outbox = store_of(settings, catalogue), outbox_of(settings)
    try:
        kept = await commit_only(store, catalogue, log)
        await outbox.publish(log.partition, kept)
        await servers.pause("kafka")
        publishes = [asyncio.create_task(outbox.publish(log.partition, kept)) for _ in range(4)]
        await asyncio.wait(publishes, timeout=0.5)
        for given_up in publishes[::2]:
            given_up.cancel()
        await servers.unpause("kafka")
        async with asyncio.timeout(20):
            assert await asyncio.gather(*publishes[1::2]) == [None, None]
            await outbox.publish(log.partition, kept)
    finally:
        await store.close()
        await outbox.close()


async def test_a_publish_that_fails_fails_for_all_that_went_out_together_and_the_next_one_succeeds(
    settings: Settings, catalogue: Catalogue
) -> None:
    log = FakeLog()
    log.append(wallet(1), pending("ord-1"), pending("too large", expires_at="2026-11-22T12:00:00Z"))
    store, outbox = store_of(settings, catalogue), outbox_of(settings)
    try:
        kept = await commit_only(store, catalogue, log)
        assert isinstance(kept[0], Notification)
        too_large = kept[0]._replace(amount="1" * 2_000_000)
        together = [outbox.publish(log.partition, kept), outbox.publish(log.partition, [too_large])]
        outcomes = await asyncio.gather(*together, return_exceptions=True)
        assert all(isinstance(outcome, KafkaError) for outcome in outcomes), outcomes
        await outbox.publish(log.partition, kept)
    finally:
        await store.close()
        await outbox.close()


async def test_the_watermark_only_grows_and_never_passes_the_place(
    settings: Settings, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    log = FakeLog()
    store = store_of(settings, catalogue)

    async def watermark() -> int:
        return int((await partition_row(settings, database, log.partition))["published_offset"])

    async def apply(start: int, end: int, published_offset: int) -> None:
        batch = Batch(start, end, log.entries(catalogue)[start:end])
        changes = decide(await store.gather(batch), batch.entries, catalogue, store.topic, store.partition)
        await store.apply(batch, changes, published_offset)

    log.append(*(pending(f"ord-{number}") for number in range(6)))
    try:
        await store.take_place(PARTITIONS, log.cluster)
        await apply(0, 4, 0)
        await store.note_published(3)
        assert await watermark() == 3
        await store.note_published(2)
        assert await watermark() == 3
        await store.note_published(5)  # of an owner whose batch was never committed
        assert await watermark() == 3
        await apply(4, 5, 1)
        assert await watermark() == 3
        await apply(5, 6, 5)
        assert await watermark() == 5
    finally:
        await store.close()


async def test_a_record_that_the_database_refuses_is_a_dead_letter_and_its_neighbours_are_processed(
    settings: Settings, database: asyncpg.Connection
) -> None:
    await database.execute("ALTER TABLE orders ADD CONSTRAINT no_poison CHECK (order_id NOT LIKE 'poison%')")
    rng = random.Random(1)
    log = [wallet(number) for number in range(20)] + [pending(f"ord-{number}") for number in range(20)]
    log += [pending("poison-1"), pending("poison-2"), pending("ord-waits")]
    log += [status(f"ord-{number}", "completed") for number in range(10)] + [status("poison-3", "completed")]
    rng.shuffle(log)
    placed = await publish(settings, messages(*log))  # before the start: it is all in one batch
    async with allocating(settings):
        await processed(settings, database, len(log))
    refused = {
        (place.partition, place.offset)
        for place, document in zip(placed, log, strict=True)
        if str(document.get("order_id")).startswith("poison")
    }
    assert len(refused) == 3
    rows = await database.fetch(
        "SELECT partition, \"offset\", message, value FROM dead_letters WHERE reason = 'storage_refused'"
    )
    assert {(row["partition"], row["offset"]) for row in rows} == refused
    assert all("no_poison" in row["message"] and b"poison" in row["value"] for row in rows)
    letters = [letter for letter in await dead_letters(settings) if b"storage_refused" in dict(letter.headers).values()]
    assert sorted(letter.value for letter in letters) == sorted(row["value"] for row in rows)
    assert not any("ann@example.com" in str(letter.headers) for letter in letters)
    await assert_as_the_rules_say(settings, database, frozenset(refused))


async def test_a_batch_that_the_database_refuses_leaves_nothing_behind(
    settings: Settings, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    await database.execute("ALTER TABLE orders ADD CONSTRAINT no_poison CHECK (order_id <> 'poison')")
    log = FakeLog()
    log.append(wallet(1), pending("ord-1"), pending("poison"))
    store = store_of(settings, catalogue)
    try:
        with pytest.raises(REFUSED):
            await commit_only(store, catalogue, log)
    finally:
        await store.close()
    assert (await partition_row(settings, database, log.partition))["next_offset"] == 0
    assert await database.fetchval("SELECT count(*) FROM wallets") == 0
