"""The allocator's session with PostgreSQL: each call one named statement, its rows as the allocator's data."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import asyncpg

from consumers.allocator.needs import Needs
from consumers.allocator.ports import Connect, Session
from consumers.allocator.state import (
    Assignment,
    KeptDeadLetter,
    KnownOrder,
    KnownWallet,
    Notification,
    State,
    Step,
    order_row,
    wallet_row,
)
from consumers.places import Place
from storage.arrays import columns
from storage.database import BY_INDEX, connect
from storage.sql import read_queries

SQL = read_queries("allocator")
COMMAND_SECONDS = 30.0

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
                parameters=BY_INDEX,
                command_seconds=COMMAND_SECONDS,
            )
        )

    return connect_as


class DatabaseSession:
    """A connection, and what is said over it; see ports.Session. Not shared between tasks."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def take_place(self, topic: str, partition: int, partition_count: int, cluster_id: str) -> Place:
        await self._connection.execute(SQL["open_place"], topic, partition, partition_count, cluster_id)
        row = await self._connection.fetchrow(SQL["take_place"], topic, partition)
        if row is None:
            row = await self._connection.fetchrow(SQL["other_place"], topic, partition_count, cluster_id)
        # A statement of its own: where that one has waited for a transaction, it sees the row as it is now, but every
        # other table as it was before the wait.
        catalogue = await self._connection.fetchval(SQL["last_catalogue"], topic, partition)
        return Place._make([*row, catalogue])

    async def note_published(self, topic: str, partition: int, published_offset: int) -> None:
        await self._connection.execute(SQL["note_published"], topic, partition, published_offset)

    async def gather(self, topic: str, partition: int, needs: Needs) -> tuple[int, State]:
        rows = await self._connection.fetch(
            SQL["gather"],
            topic,
            partition,
            *_columns(((*key, ends) for key, ends in needs.orders.items()), 3),
            *_columns(needs.wallets, 3),
            *_columns(((*pool, many) for pool, many in needs.free.items()), 3),
            *_columns(((*pool, many) for pool, many in needs.waiting.items()), 3),
        )
        return _state_of(rows)

    async def apply(self, topic: str, partition: int, step: Step) -> bool:
        changes, catalogue = step.changes, step.catalogue
        moved: bool = await self._connection.fetchval(
            SQL["apply"],
            topic,
            partition,
            step.start,
            step.end,
            step.published_offset,
            changes.counts,
            catalogue and catalogue.sha256,
            catalogue and catalogue.content,
            list(columns(map(order_row, changes.new_orders))),
            list(columns(map(_order_changes, changes.changed_orders))),
            list(columns(map(wallet_row, changes.new_wallets))),
            list(columns(map(wallet_row, changes.changed_wallets))),
            list(columns(changes.releases)),
            list(columns(changes.assignments)),
            list(columns(step.dead_letters)),
        )
        return moved

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


def _state_of(rows: Iterable[asyncpg.Record]) -> tuple[int, State]:
    """The place, and the state, of the rows of the statement `gather`, which come in any order."""
    place = 0
    orders, wallets, free, waiting = state = State({}, {}, {}, {})
    for row in rows:
        what = row[0]
        if what == "place":
            place = row["queue_place"]
            continue
        if what == "order" or what == "waiting":
            order = KnownOrder._make(row[1:10])
            orders[order.currency, order.order_id] = order
            if what == "waiting":
                waiting.setdefault((order.currency, row["network"]), []).append(order.order_id)
        if row["w_status"] is not None:
            key = (row["currency"], row["network"], row["address"])
            wallets[key] = KnownWallet(*key, *row[10:])
            if what == "free":
                free.setdefault(key[:2], []).append(key[2])
    for (currency, _), order_ids in waiting.items():
        order_ids.sort(key=lambda order_id: orders[currency, order_id].queue_place or 0)
    for pool, addresses in free.items():
        addresses.sort(key=lambda address: wallets[*pool, address].free_place or 0)
    return place, state


def _columns(rows: Iterable[tuple[Any, ...]], count: int) -> list[str]:
    return list(columns(rows)) or ["{}"] * count
