"""The allocator's session with PostgreSQL: each call one named statement, its rows as the allocator's data."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from operator import attrgetter

import asyncpg

from consumers.allocator.ports import Connect, Session
from consumers.allocator.state import (
    Assignment,
    Counts,
    KeptDeadLetter,
    Notification,
    Order,
    OrderKey,
    Pool,
    Release,
    Wallet,
    WalletKey,
    order_row,
    wallet_row,
)
from consumers.places import Place
from schemas.catalogue import Catalogue
from storage.arrays import columns
from storage.database import connect
from storage.sql import read_queries

SQL = read_queries("allocator")
COMMAND_SECONDS = 30.0

# The hot statements look few rows up by index. A table that has just been filled has no statistics yet, and a plan
# that takes it for empty would scan it whole, batch after batch.
PARAMETERS = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}

_ORDER_COLUMNS = [field.name for field in fields(Order)]
_ASSIGNMENT_COLUMNS = ["partition", *Assignment._fields]
_order_changes = attrgetter(
    "currency",
    "order_id",
    "status",
    "network",
    "amount",
    "queue_place",
    "address",
    "reason",
    "actor",
    "pending_offset",
    "pending_at",
    "paid_offset",
    "processing_offset",
    "ended_offset",
    "ended_at",
)


def connecting(url: str) -> Connect:
    """Opens sessions with the database at `url` (postgresql://…) in the allocator's role."""

    async def connect_as(application: str) -> Session:
        return DatabaseSession(
            await connect(
                url,
                "walletq_allocator",
                application=application,
                parameters=PARAMETERS,
                command_seconds=COMMAND_SECONDS,
            )
        )

    return connect_as


class DatabaseSession:
    """A connection, and what is said over it; see ports.Session. Not shared between tasks."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        transaction = self._connection.transaction(isolation="repeatable_read")
        await transaction.start()
        try:
            yield
        except (asyncio.CancelledError, asyncio.TimeoutError):
            # The server may not answer: whoever is to stop cannot wait until it takes a rollback.
            self._connection.terminate()
            raise
        except BaseException:
            await transaction.rollback()
            raise
        await transaction.commit()

    async def take_place(self, topic: str, partition: int, partition_count: int, cluster_id: str) -> Place:
        await self._connection.execute(SQL["open_place"], topic, partition, partition_count, cluster_id)
        row = await self._connection.fetchrow(SQL["take_place"], topic, partition)
        # A statement of its own: where that one has waited for a transaction, it sees the row as it is now, but every
        # other table as it was before the wait.
        catalogue = await self._connection.fetchval(SQL["last_catalogue"], topic, partition)
        return Place._make([*row, catalogue])

    async def advance(
        self, topic: str, partition: int, start: int, end: int, published_offset: int, counts: Counts
    ) -> bool:
        try:
            moved = await self._connection.fetchval(
                SQL["advance"], topic, partition, start, end, published_offset, *counts
            )
        except asyncpg.SerializationError:  # it has moved since the transaction began
            return False
        return moved is not None

    async def note_published(self, topic: str, partition: int, published_offset: int) -> None:
        await self._connection.execute(SQL["note_published"], topic, partition, published_offset)

    async def record_catalogue(self, topic: str, partition: int, from_offset: int, catalogue: Catalogue) -> None:
        await self._connection.execute(
            SQL["record_catalogue"], topic, partition, from_offset, catalogue.sha256, catalogue.content
        )

    async def orders_named(self, keys: Sequence[OrderKey]) -> Sequence[tuple[Order, Wallet | None]]:
        return [
            (order := Order(*row[: len(_ORDER_COLUMNS)]), _held_by(order, row))
            for row in await self._connection.fetch(SQL["orders_named"], *columns(keys))
        ]

    async def wallets_named(self, keys: Sequence[WalletKey]) -> Sequence[Wallet]:
        return [Wallet(*row) for row in await self._connection.fetch(SQL["wallets_named"], *columns(keys))]

    async def first_free(self, many: Counter[Pool]) -> Sequence[Wallet]:
        return [Wallet(*row) for row in await self._connection.fetch(SQL["first_free"], *_pools(many))]

    async def first_waiting(self, many: Counter[Pool]) -> Sequence[Order]:
        return [Order(*row) for row in await self._connection.fetch(SQL["first_waiting"], *_pools(many))]

    async def insert_orders(self, orders: Sequence[Order]) -> None:
        await self._connection.copy_records_to_table("orders", records=map(order_row, orders), columns=_ORDER_COLUMNS)

    async def update_orders(self, orders: Sequence[Order]) -> None:
        await self._connection.execute(SQL["update_orders"], *columns(map(_order_changes, orders)))

    async def insert_wallets(self, wallets: Sequence[Wallet]) -> None:
        await self._connection.execute(SQL["insert_wallets"], *columns(map(wallet_row, wallets)))

    async def update_wallets(self, wallets: Sequence[Wallet]) -> None:
        await self._connection.execute(SQL["update_wallets"], *columns(map(wallet_row, wallets)))

    async def close_assignments(self, partition: int, releases: Sequence[Release]) -> None:
        await self._connection.execute(SQL["close_assignments"], partition, *columns(releases))

    async def insert_assignments(self, partition: int, assignments: Sequence[Assignment]) -> None:
        await self._connection.copy_records_to_table(
            "assignments",
            records=[(partition, *assignment) for assignment in assignments],
            columns=_ASSIGNMENT_COLUMNS,
        )

    async def insert_dead_letters(self, topic: str, partition: int, kept: Sequence[KeptDeadLetter]) -> None:
        await self._connection.execute(SQL["insert_dead_letters"], topic, partition, *zip(*kept, strict=True))

    async def unpublished_notifications(
        self, partition: int, start: int, end: int, most: int
    ) -> Sequence[Notification]:
        rows = await self._connection.fetch(SQL["unpublished_notifications"], partition, start, end, most)
        return [
            Notification(Assignment._make(row[:10]), row["amount"], row["expires_at"], row["traceparent"])
            for row in rows
        ]

    async def unpublished_dead_letters(
        self, topic: str, partition: int, start: int, end: int, most: int
    ) -> Sequence[KeptDeadLetter]:
        rows = await self._connection.fetch(SQL["unpublished_dead_letters"], topic, partition, start, end, most)
        return [KeptDeadLetter._make(row) for row in rows]

    def terminate(self) -> None:
        self._connection.terminate()


def _held_by(order: Order, row: asyncpg.Record) -> Wallet | None:
    if order.network is None or order.address is None:
        return None
    return Wallet(
        currency=order.currency,
        network=order.network,
        address=order.address,
        status=row["w_status"],
        added_offset=row["w_added_offset"],
        order_id=order.order_id,
        assigned_offset=row["w_assigned_offset"],
        retiring=row["w_retiring"],
        retired_offset=row["w_retired_offset"],
    )


def _pools(many: Counter[Pool]) -> Iterator[str]:
    return columns((currency, network, count) for (currency, network), count in many.items())
