"""The state of one partition, as its owner reads and writes it."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from consumers.allocator.needs import heads, named
from consumers.allocator.ports import Connect, Session
from consumers.allocator.state import (
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
)
from consumers.errors import Fenced
from consumers.places import Place
from schemas.catalogue import Catalogue
from schemas.topics import MAX_KEPT_BYTES

PAGE = 1_000


class Store:
    """One owner's session with the state of one partition. Not shared between tasks."""

    def __init__(self, connect: Connect, topic: str, partition: int, catalogue: Catalogue) -> None:
        self.topic = topic
        self.partition = partition
        self._connect = connect
        self._catalogue = catalogue
        self._recorded_catalogue: str | None = None
        self._session: Session | None = None
        self._in_transaction = False

    async def take_place(self, partition_count: int, cluster_id: str) -> Place:
        """The partition's place, in a new session: whatever an old one was doing has ended by then.

        Args:
            partition_count, cluster_id: recorded at the first sight of the partition.

        Raises:
            ServerUnreachable, and everything in storage.database.AWAY.
        """
        await self.close()
        self._session = await self._connect(f"walletq allocate {self.topic}/{self.partition}")
        place = await self._session.take_place(self.topic, self.partition, partition_count, cluster_id)
        self._recorded_catalogue = place.catalogue
        return place

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """For one batch, gathered and applied in the block: what was gathered is of one moment, and what is applied
        changes what it was then, or nothing. Several moments would show a zombie a state that there never was."""
        async with self._live.transaction():
            self._in_transaction = True
            try:
                yield
            finally:
                self._in_transaction = False
        self._recorded_catalogue = self._catalogue.sha256

    async def gather(self, entries: Sequence[Entry]) -> State:
        """The orders and wallets that the entries name, and the heads of the queues of the pools they touch."""
        orders, wallets = await self._read_named(entries)
        many_free, many_waiting = heads(entries, orders)
        free: dict[Pool, list[str]] = {}
        waiting: dict[Pool, list[str]] = {}
        if many_free:
            for wallet in await self._live.first_free(many_free):
                wallets[wallet.currency, wallet.network, wallet.address] = wallet
                free.setdefault((wallet.currency, wallet.network), []).append(wallet.address)
        if many_waiting:
            for order in await self._live.first_waiting(many_waiting):
                assert order.network is not None
                orders[order.currency, order.order_id] = order
                waiting.setdefault((order.currency, order.network), []).append(order.order_id)
        return State(orders, wallets, free, waiting)

    async def apply(self, batch: Batch, changes: Changes, published_offset: int) -> list[KeptDeadLetter]:
        """Write the changes and move the place, in the open transaction; returns the dead letters as they are kept.

        Raises:
            Fenced: the place is not at the batch's start, or no more.
            storage.database.REFUSED: the database does not take a record.
            storage.database.AWAY: the outcome is unknown; take the place again.
        """
        assert self._in_transaction, "half of a batch could be committed"
        session, at = self._live, (self.topic, self.partition)
        dead_letters = [as_kept(dead_letter) for dead_letter in changes.dead_letters]
        if not await session.advance(*at, batch.start, batch.end, published_offset, changes.counts):
            raise Fenced(*at, batch.start)
        if self._recorded_catalogue != self._catalogue.sha256:
            await session.record_catalogue(*at, batch.start, self._catalogue)
        await self._write(session, changes)
        if dead_letters:
            await session.insert_dead_letters(*at, dead_letters)
        return dead_letters

    async def note_published(self, published_offset: int) -> None:
        """Move the outbox's watermark where no batch comes to carry it."""
        await self._live.note_published(self.topic, self.partition, published_offset)

    async def unpublished(self, start: int, end: int) -> AsyncIterator[Notification | KeptDeadLetter]:
        """What the outbox holds from `start` up to `end`: notifications, then dead letters, each in offset order."""
        after = start
        while notifications := await self._live.unpublished_notifications(self.partition, after, end, PAGE):
            for notification in notifications:
                yield notification
            after = notifications[-1].assignment.assigned_offset + 1
        after = start
        while kept := await self._live.unpublished_dead_letters(self.topic, self.partition, after, end, PAGE):
            for dead_letter in kept:
                yield dead_letter
            after = kept[-1].offset + 1

    async def close(self) -> None:
        """Give the session up; without a farewell where the server does not answer."""
        session, self._session = self._session, None
        if session is not None:
            session.terminate()

    @property
    def _live(self) -> Session:
        assert self._session is not None, "the place is not taken"
        return self._session

    async def _read_named(self, entries: Sequence[Entry]) -> tuple[dict[OrderKey, Order], dict[WalletKey, Wallet]]:
        orders: dict[OrderKey, Order] = {}
        wallets: dict[WalletKey, Wallet] = {}
        order_keys, wallet_keys = named(entries)
        if order_keys:
            for order, held in await self._live.orders_named(order_keys):
                orders[order.currency, order.order_id] = order
                if held is not None:
                    wallets[held.currency, held.network, held.address] = held
        if wallet_keys:
            for wallet in await self._live.wallets_named(wallet_keys):
                wallets[wallet.currency, wallet.network, wallet.address] = wallet
        return orders, wallets

    async def _write(self, session: Session, changes: Changes) -> None:
        if changes.new_orders:
            await session.insert_orders(changes.new_orders)
        if changes.changed_orders:
            await session.update_orders(changes.changed_orders)
        if changes.new_wallets:
            await session.insert_wallets(changes.new_wallets)
        if changes.changed_wallets:
            await session.update_wallets(changes.changed_wallets)
        if changes.releases:
            await session.close_assignments(self.partition, changes.releases)
        if changes.assignments:
            await session.insert_assignments(self.partition, changes.assignments)


def as_kept(dead_letter: DeadLetter) -> KeptDeadLetter:
    """The row of a refused record; what is too large is left out of it."""
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
