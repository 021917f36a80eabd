"""What the allocator's tests stand on: events as producers send them, allocators at work, what came of it."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import RecordMetadata

from consumers.allocator import run_allocator
from consumers.allocator.in_hand import InHand
from consumers.allocator.outbox import Outbox
from consumers.allocator.owner import Owner
from consumers.allocator.ports import Publisher
from consumers.allocator.reading import Reader, Record
from consumers.allocator.session import connecting
from consumers.allocator.state import Entry
from consumers.allocator.store import Store
from consumers.places import Log
from operations.verify import check, until_drained
from schemas.catalogue import Catalogue
from schemas.settings import Settings
from schemas.topics import PARTITIONS, names
from storage.database import connect
from storage.kafka import client_options
from tests.acceptance.pipeline import assert_notified_once_each, read_topic
from tests.reference import Model
from tests.reference.agreement import disagreement, facts_of_model
from tests.servers.facts import facts_of_database
from tests.servers.topics import consumed
from tests.servers.wait import until
from tests.traffic import Message, address, right_partition
from tests.traffic.messages import keyed

Document = dict[str, Any]

NETWORKS = {"BTC": "bitcoin", "ETH": "ethereum", "LTC": "litecoin", "USDT": "TRC-20"}
AMOUNTS = {"BTC": "0.01", "ETH": "0.5", "LTC": "2", "USDT": "250.00"}
ASSIGNED = "SELECT order_id FROM assignments"


# Events


def pending(order_id: str, currency: str = "USDT", **fields: Any) -> Document:
    """A good one, unless the fields say otherwise; a field that is None is left out."""
    document: Document = {
        "type": "order_status_changed",
        "event_id": "e",
        "order_id": order_id,
        "currency": currency,
        "network": NETWORKS.get(currency),
        "status": "pending",
        "amount": AMOUNTS.get(currency, "1"),
        "recipient": {"email": "ann@example.com", "locale": "en"},
        "occurred_at": "2026-11-22T16:00:00Z",
    }
    return {name: content for name, content in (document | fields).items() if content is not None}


def status(order_id: str, status: str, currency: str = "USDT", **fields: Any) -> Document:
    """The order has this status now."""
    event = {"type": "order_status_changed", "event_id": "e", "occurred_at": "2026-11-22T16:00:00Z"}
    return event | {"order_id": order_id, "currency": currency, "status": status} | fields


def wallet(number: int, currency: str = "USDT", kind: str = "wallet_added", **fields: Any) -> Document:
    """The event of the wallet with this number: the same number is the same address."""
    return {
        "type": kind,
        "event_id": f"w{number}",
        "currency": currency,
        "network": NETWORKS[currency],
        "address": address(NETWORKS[currency], random.Random(number)),
        "occurred_at": "2026-11-22T16:00:00Z",
    } | fields


def messages(*documents: Document) -> list[Message]:
    """As a good producer sends them: keyed by currency, to the partition of the key."""
    return [keyed(document) for document in documents]


async def publish(settings: Settings, log: Sequence[Message], **options: Any) -> list[RecordMetadata]:
    """Publish with a plain producer, one batch for each record; where they are now.

    Args:
        options: of the producer.
    """
    producer = AIOKafkaProducer(
        **client_options(settings), **{"enable_idempotence": True, "max_batch_size": 1 << 21} | options
    )
    async with producer:
        sent = []
        for message in log:
            batch = producer.create_batch()  # `send` does not take a record with neither key nor value
            batch.append(timestamp=None, key=message.key, value=message.value, headers=list(message.headers))
            sent.append(await producer.send_batch(batch, names(settings).orders, partition=message.partition))
        placed: list[RecordMetadata] = await asyncio.gather(*sent)
    return placed


async def publish_raw_header(settings: Settings, message: Message, name: bytes) -> RecordMetadata:
    """Publish a record with a header whose name is these bytes, which a producer in Python would not."""
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        batch = producer.create_batch()
        stand_in = "h" * len(name)
        batch.append(timestamp=None, key=message.key, value=message.value, headers=[(stand_in, b""), *message.headers])
        data = bytearray(bytes(batch._build()).replace(stand_in.encode(), name))  # noqa: SLF001
        checksum_at, checked_from = 17, 21  # https://kafka.apache.org/documentation/#recordbatch
        data[checksum_at:checked_from] = calc_crc32c(bytes(data[checked_from:])).to_bytes(4, "big")
        batch._buffer = data  # noqa: SLF001
        placed: RecordMetadata = await (
            await producer.send_batch(batch, names(settings).orders, partition=message.partition)
        )
        return placed


# Allocators


@contextlib.asynccontextmanager
async def allocating(settings: Settings, stop_seconds: float = 10) -> AsyncIterator["asyncio.Task[None]"]:
    """An allocator in this process, told to stop at the end, which must come within `stop_seconds`."""
    stop = asyncio.Event()
    allocator = asyncio.create_task(run_allocator(settings, stop))
    try:
        yield allocator
    finally:
        stop.set()
        _, late = await asyncio.wait([allocator], timeout=stop_seconds)
        for task in late:
            task.cancel()
            await asyncio.wait([task])
    assert not late, f"the allocator did not stop within {stop_seconds} s"
    allocator.result()


async def processed(settings: Settings, database: asyncpg.Connection, records: int, seconds: float = 30) -> None:
    """Wait until so many records are applied, had no effect, or are dead letters."""
    total = "SELECT coalesce(sum(applied + no_effect + dead_letters), 0) FROM partitions WHERE topic = $1"

    async def enough() -> bool:
        found = await database.fetchval(total, names(settings).orders)
        assert found <= records, f"{found} records are accounted for, of {records}"
        return bool(found == records)

    await until(enough, seconds, f"{records} records to be processed")


async def assigned(database: asyncpg.Connection, *order_ids: str, seconds: float = 30) -> None:
    """Wait until these orders have had a wallet."""

    async def all_of_them() -> bool:
        return set(order_ids) <= {row["order_id"] for row in await database.fetch(ASSIGNED)}

    await until(all_of_them, seconds, f"a wallet for {', '.join(order_ids)}")


@contextlib.asynccontextmanager
async def reconnected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Another superuser's connection to the test's database."""
    connection = await connect(settings.need_database(), application="walletq test again")
    try:
        yield connection
    finally:
        connection.terminate()


# What came of it


async def dead_letters(settings: Settings) -> list[ConsumerRecord]:
    """The records on the topic of the orders' dead letters."""
    of = names(settings)
    return await consumed(settings, of.dead_letters(of.orders), 1)


async def assert_as_the_rules_say(
    settings: Settings, database: asyncpg.Connection, refused: frozenset[tuple[int, int]] = frozenset()
) -> Model:
    """Orders, wallets, assignments, dead letters and notifications are what the reference model makes of the log.

    Args:
        refused: (partition, offset) of the records that the database does not take.
    """
    topic = names(settings).orders
    model = Model(refused=refused, topic=topic)
    for record in await read_topic(settings, topic):
        model.take(record)
    differing = disagreement(await facts_of_database(database.fetch, topic), facts_of_model(model))
    assert not differing, differing
    await assert_notified_once_each(settings, model)
    return model


async def assert_verified(settings: Settings) -> None:
    """What `walletq verify --wait` says: everything is accounted for, published, and nothing is left to do."""
    assert await until_drained(settings, 20), "something is left to do"
    violated = [finding.as_text() for finding in await check(settings, drained=True) if finding.result == "violated"]
    assert not violated, "\n".join(violated)


# Owners of one partition, without a consumer group


@dataclass
class FakeRecord:
    """A record as aiokafka gives it."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 1_763_827_200_123
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass
class FakeLog:
    """A partition's log in memory. `gate` holds back what is fetched: closed, its reader is a stopped process."""

    partition: int = right_partition(b"USDT")
    cluster: str = "cluster"
    records: list[FakeRecord] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    position: int = 0
    sought: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    def append(self, *documents: Document, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """These events are at the end now."""
        for message in messages(*documents):
            self.records.append(FakeRecord(len(self.records), message.key, message.value, headers=headers))

    def reader_of_the_same(self) -> "FakeLog":
        """Another reader of this log."""
        return FakeLog(self.partition, self.cluster, self.records)

    async def describe(self) -> Log:
        """See Source."""
        return Log(self.cluster, PARTITIONS, 0, len(self.records))

    def seek(self, offset: int) -> None:
        """See Source."""
        self.position = offset
        self.sought.append(offset)

    async def fetch(self, most: int, seconds: float) -> Sequence[Record]:
        """See Source."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until(lambda: self.position < len(self.records))
        found = self.records[self.position : self.position + most]
        self.position += len(found)
        await self.gate.wait()
        return found

    async def rest(self, seconds: float) -> None:
        """See Source."""
        await asyncio.sleep(seconds)

    def entries(self, catalogue: Catalogue) -> list[Entry]:
        """All of it, as an owner reads it."""
        reader = Reader(catalogue, self.partition, PARTITIONS)
        return [reader.read(record) for record in self.records]


def store_of(settings: Settings, catalogue: Catalogue, partition: int = right_partition(b"USDT")) -> Store:
    """A store for a partition of the orders' topic; its place is not taken yet."""
    return Store(connecting(settings.need_database()), names(settings).orders, partition, catalogue)


def outbox_of(settings: Settings) -> Outbox:
    """An outbox as a process has it."""
    return Outbox(client_options(settings), names(settings))


@contextlib.asynccontextmanager
async def owning(
    settings: Settings,
    catalogue: Catalogue,
    log: FakeLog,
    outbox: Publisher,
    *,
    batch_records: int = 100,
    in_hand: InHand | None = None,
) -> AsyncIterator[Owner]:
    """An owner at work on a log in memory, with a real database; it is stopped at the end."""
    store = store_of(settings, catalogue, log.partition)
    owner = Owner(store, log, outbox, catalogue, batch_records=batch_records, in_hand=in_hand or InHand())
    task = asyncio.create_task(owner.run())
    try:
        yield owner
    finally:
        owner.stop()
        log.gate.set()
        async with asyncio.timeout(10):
            await asyncio.wait([task])
    task.result()


async def partition_row(settings: Settings, database: asyncpg.Connection, partition: int) -> Any:
    """The row of a partition of the orders' topic."""
    return await database.fetchrow(
        "SELECT * FROM partitions WHERE topic = $1 AND partition = $2", names(settings).orders, partition
    )


@contextlib.asynccontextmanager
async def transactions(settings: Settings, transactional_id: str) -> AsyncIterator[AIOKafkaProducer]:
    """A transactional producer."""
    producer = AIOKafkaProducer(**client_options(settings), transactional_id=transactional_id)
    async with producer:
        yield producer
