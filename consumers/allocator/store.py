"""The allocator's state in PostgreSQL, as one owner of one partition reads and writes it."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter

import asyncpg

from consumers.allocator.needs import heads, named
from consumers.allocator.state import (
    Assignment,
    Batch,
    Changes,
    DeadLetter,
    Entry,
    KeptDeadLetter,
    Notification,
    Order,
    OrderKey,
    Pool,
    State,
    Wallet,
    WalletKey,
    order_row,
    wallet_row,
)
from consumers.errors import Fenced
from consumers.places import Place
from schemas.catalogue import Catalogue
from schemas.topics import MAX_KEPT_BYTES
from storage.arrays import columns
from storage.database import connect
from storage.sql import read_queries

SQL = read_queries("allocator")
PAGE = 1_000
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


class Store:
    """One owner's connection to the state of one partition. Not shared between tasks."""

    def __init__(self, url: str, topic: str, partition: int, catalogue: Catalogue) -> None:
        self.topic = topic
        self.partition = partition
        self._url = url
        self._catalogue = catalogue
        self._recorded_catalogue: str | None = None
        self._connection: asyncpg.Connection | None = None

    async def take_place(self, partition_count: int, cluster_id: str) -> Place:
        """The partition's place, on a new connection: whatever an old one was doing has ended by then.

        Args:
            partition_count, cluster_id: recorded at the first sight of the partition.

        Raises:
            ServerUnreachable, and everything in storage.database.AWAY.
        """
        await self.close()
        connection = await connect(
            self._url,
            "walletq_allocator",
            application=f"walletq allocate {self.topic}/{self.partition}",
            parameters=PARAMETERS,
            command_seconds=COMMAND_SECONDS,
        )
        self._connection = connection
        await connection.execute(SQL["open_place"], self.topic, self.partition, partition_count, cluster_id)
        row = await connection.fetchrow(SQL["take_place"], self.topic, self.partition)
        place = Place._make(row)
        self._recorded_catalogue = place.catalogue
        return place

    async def gather(self, entries: Sequence[Entry]) -> State:
        """The orders and wallets that the entries name, and the heads of the queues of the pools they touch."""
        orders, wallets = await self._read_named(entries)
        many_free, many_waiting = heads(entries, orders)
        free: dict[Pool, list[str]] = {}
        waiting: dict[Pool, list[str]] = {}
        if many_free:
            for row in await self._live.fetch(SQL["first_free"], *_pools(many_free)):
                wallet = Wallet(*row)
                wallets[wallet.currency, wallet.network, wallet.address] = wallet
                free.setdefault((wallet.currency, wallet.network), []).append(wallet.address)
        if many_waiting:
            for row in await self._live.fetch(SQL["first_waiting"], *_pools(many_waiting)):
                order = Order(*row)
                orders[order.currency, order.order_id] = order
                waiting.setdefault((row["currency"], row["network"]), []).append(order.order_id)
        return State(orders, wallets, free, waiting)

    async def apply(self, batch: Batch, changes: Changes, published_offset: int) -> list[KeptDeadLetter]:
        """Write the changes and move the place, in one transaction; returns the dead letters as they are kept.

        Raises:
            Fenced: the place is not at the batch's start; nothing is written.
            storage.database.REFUSED: the database does not take a record; nothing is written.
            storage.database.AWAY: the outcome is unknown; take the place again.
        """
        connection = self._live
        dead_letters = [_kept(dead_letter) for dead_letter in changes.dead_letters]
        async with connection.transaction():
            moved = await connection.fetchval(
                SQL["advance"],
                self.topic,
                self.partition,
                batch.start,
                batch.end,
                published_offset,
                *changes.counts,
            )
            if moved is None:
                raise Fenced(self.topic, self.partition, batch.start)
            if self._recorded_catalogue != self._catalogue.sha256:
                await connection.execute(
                    SQL["record_catalogue"],
                    self.topic,
                    self.partition,
                    batch.start,
                    self._catalogue.sha256,
                    self._catalogue.content,
                )
            await self._write(connection, changes)
            if dead_letters:
                await connection.execute(
                    SQL["insert_dead_letters"], self.topic, self.partition, *zip(*dead_letters, strict=True)
                )
        self._recorded_catalogue = self._catalogue.sha256
        return dead_letters

    async def note_published(self, published_offset: int) -> None:
        """Move the outbox's watermark where no batch comes to carry it."""
        await self._live.execute(SQL["note_published"], self.topic, self.partition, published_offset)

    async def unpublished(self, start: int, end: int) -> AsyncIterator[Notification | KeptDeadLetter]:
        """What the outbox holds from `start` up to `end`: notifications, then dead letters, each in offset order."""
        after = start
        while rows := await self._live.fetch(SQL["unpublished_notifications"], self.partition, after, end, PAGE):
            for row in rows:
                yield Notification(Assignment._make(row[:10]), row["amount"], row["expires_at"], row["traceparent"])
            after = rows[-1]["assigned_offset"] + 1
        after = start
        while rows := await self._live.fetch(
            SQL["unpublished_dead_letters"], self.topic, self.partition, after, end, PAGE
        ):
            for row in rows:
                yield KeptDeadLetter._make(row)
            after = rows[-1]["offset"] + 1

    async def close(self) -> None:
        """Give the connection up; without a farewell where the server does not answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    @property
    def _live(self) -> asyncpg.Connection:
        if self._connection is None:
            raise asyncpg.InterfaceError("the place is not taken")
        return self._connection

    async def _read_named(self, entries: Sequence[Entry]) -> tuple[dict[OrderKey, Order], dict[WalletKey, Wallet]]:
        orders: dict[OrderKey, Order] = {}
        wallets: dict[WalletKey, Wallet] = {}
        order_keys, wallet_keys = named(entries)
        if order_keys:
            for row in await self._live.fetch(SQL["orders_named"], *columns(order_keys)):
                order = Order(*row[: len(_ORDER_COLUMNS)])
                orders[order.currency, order.order_id] = order
                if order.network is not None and order.address is not None:
                    wallets[order.currency, order.network, order.address] = Wallet(
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
        if wallet_keys:
            for row in await self._live.fetch(SQL["wallets_named"], *columns(wallet_keys)):
                wallet = Wallet(*row)
                wallets[wallet.currency, wallet.network, wallet.address] = wallet
        return orders, wallets

    async def _write(self, connection: asyncpg.Connection, changes: Changes) -> None:
        if changes.new_orders:
            await connection.copy_records_to_table(
                "orders", records=map(order_row, changes.new_orders), columns=_ORDER_COLUMNS
            )
        if changes.changed_orders:
            await connection.execute(SQL["update_orders"], *columns(map(_order_changes, changes.changed_orders)))
        if changes.new_wallets:
            await connection.execute(SQL["insert_wallets"], *columns(map(wallet_row, changes.new_wallets)))
        if changes.changed_wallets:
            await connection.execute(SQL["update_wallets"], *columns(map(wallet_row, changes.changed_wallets)))
        if changes.releases:
            await connection.execute(SQL["close_assignments"], self.partition, *columns(changes.releases))
        if changes.assignments:
            await connection.copy_records_to_table(
                "assignments",
                records=[(self.partition, *assignment) for assignment in changes.assignments],
                columns=_ASSIGNMENT_COLUMNS,
            )


def _pools(many: Counter[Pool]) -> Iterator[str]:
    return columns((currency, network, count) for (currency, network), count in many.items())


def _kept(dead_letter: DeadLetter) -> KeptDeadLetter:
    entry, refusal = dead_letter
    value = entry.value
    return KeptDeadLetter(
        offset=entry.offset,
        reason=refusal.reason,
        message=refusal.message,
        record_at=entry.at,
        key=entry.key if len(entry.key or b"") <= MAX_KEPT_BYTES else None,
        value=value if len(value or b"") <= MAX_KEPT_BYTES else None,
        value_length=None if value is None else len(value),
        value_sha256=None if value is None else hashlib.sha256(value).hexdigest(),
        traceparent=entry.traceparent,
    )
