"""The real servers keep the promises that the simulated ones keep."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import SecretStr

from consumers.allocator.outbox import Outbox
from consumers.allocator.ports import Publisher, Session, Source
from consumers.allocator.session import connecting
from consumers.allocator.source import PartitionSource
from consumers.allocator.state import Order, Wallet
from consumers.messages import Message
from schemas.settings import Settings
from schemas.topics import names
from storage.database import connect
from storage.kafka import client_options
from tests.integration.allocator_world import outbox_of, transactions
from tests.ports import LOG_PROMISES, PUBLISHER_PROMISES, SESSION_PROMISES
from tests.ports.backend import Promise
from tests.ports.logs import SECONDS
from tests.servers.databases import Databases
from tests.servers.facts import ORDERS, WALLETS
from tests.servers.servers import Servers
from tests.servers.topics import consumed
from tests.servers.wait import until


class _GivenUp(Exception):  # nothing is wrong
    """Leaves a transaction."""


class RealBackend:
    """See tests.ports.Backend."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = TopicPartition(names(settings).orders, 0)
        self._connect = connecting(settings.need_database())
        self._closing = AsyncExitStack()

    async def session(self) -> Session:
        session = await self._connect("walletq test")
        self._closing.callback(session.terminate)
        return session

    @asynccontextmanager
    async def moving(self) -> AsyncIterator[None]:
        other = await connect(self._settings.need_database(), "walletq_allocator")
        try:
            async with other.transaction():
                await other.execute("UPDATE partitions SET next_offset = next_offset + 1 WHERE partition = 0")
                yield
                raise _GivenUp
        except _GivenUp:
            await other.close()

    async def orders(self) -> list[Order]:
        return [Order(*row) for row in await self._fetch(f"{ORDERS} ORDER BY currency, order_id")]

    async def wallets(self) -> list[Wallet]:
        return [Wallet(*row) for row in await self._fetch(f"{WALLETS} ORDER BY currency, network, address")]

    async def _fetch(self, statement: str) -> list[asyncpg.Record]:
        connection = await connect(self._settings.need_database())
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement)
            return rows
        finally:
            connection.terminate()

    async def source(self) -> Source:
        """As the allocator's process has it: a position of any kind, and paused."""
        consumer = AIOKafkaConsumer(
            **client_options(self._settings), enable_auto_commit=False, isolation_level="read_committed"
        )
        consumer.assign([self._topic])
        await self._closing.enter_async_context(consumer)
        consumer.seek(self._topic, 0)
        consumer.pause(self._topic)
        return PartitionSource(consumer, self._topic, "cluster")

    async def append(self, *values: bytes) -> None:
        async with AIOKafkaProducer(**client_options(self._settings)) as producer:
            for value in values:
                await producer.send_and_wait(self._topic.topic, value, b"USDT", self._topic.partition)

    async def leave_gap(self) -> None:
        """An aborted record, and its transaction's marker, which comes some time after the abort."""
        source = await self.source()
        before = (await source.describe()).end
        async with transactions(self._settings, "gap") as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(self._topic.topic, b"aborted", b"USDT", self._topic.partition)
            await producer.abort_transaction()

        async def marked() -> bool:
            return (await source.describe()).end >= before + 2

        await until(marked)

    def publisher(self) -> Publisher:
        outbox: Outbox = outbox_of(self._settings)
        self._closing.push_async_callback(outbox.close)
        return outbox

    async def published(self) -> list[Message]:
        of = names(self._settings)
        found = await consumed(self._settings, of.notifications)
        found += await consumed(self._settings, of.dead_letters(of.orders), 1)
        return [Message(record.topic, record.key, record.value, list(record.headers)) for record in found]

    async def close(self) -> None:
        """Give up what was handed out."""
        await self._closing.aclose()


@pytest.fixture
async def database_alone(servers: Servers, databases: Databases) -> AsyncIterator[RealBackend]:
    """A database whose own default isolation level is another than walletq needs; no topics."""
    url = await databases.create()
    administrator = await connect(url)
    name = await administrator.fetchval("SELECT current_database()")
    await administrator.execute(f'ALTER DATABASE "{name}" SET default_transaction_isolation = "repeatable read"')
    administrator.terminate()
    backend = RealBackend(
        Settings(kafka_bootstrap_servers=servers.kafka_bootstrap_servers, database_url=SecretStr(url))
    )
    try:
        yield backend
    finally:
        await backend.close()
        await databases.drop(url)


@pytest.fixture
async def topics(settings: Settings) -> AsyncIterator[RealBackend]:
    """Empty topics."""
    backend = RealBackend(settings)
    try:
        yield backend
    finally:
        await backend.close()


@pytest.mark.parametrize("promise", SESSION_PROMISES, ids=lambda promise: promise.__name__)
async def test_postgresql_keeps_the_promise(database_alone: RealBackend, promise: Promise) -> None:
    await promise(database_alone)


async def test_what_comes_during_a_rest_comes_together(topics: RealBackend) -> None:
    """The consumer would fetch the first of them ahead, and the second only once that is taken."""
    await topics.append(b"a")
    source = await topics.source()
    source.seek(0)
    assert len(await source.fetch(10, SECONDS)) == 1

    async def append_one_by_one() -> None:
        await topics.append(b"b")
        await topics.append(b"c")

    await asyncio.gather(source.rest(2.0), append_one_by_one())
    assert [record.value for record in await source.fetch(10, SECONDS)] == [b"b", b"c"]


@pytest.mark.parametrize("promise", [*LOG_PROMISES, *PUBLISHER_PROMISES], ids=lambda promise: promise.__name__)
async def test_kafka_keeps_the_promise(topics: RealBackend, promise: Promise) -> None:
    await promise(topics)
