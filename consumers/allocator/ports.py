"""What the allocator needs of the servers: a partition's log, a session with the database, and somebody who publishes.

The real ones are `source.PartitionSource`, `session.DatabaseSession` and `outbox.Outbox`; the simulation has others.
One suite of tests holds both to what is promised here.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from consumers.allocator.reading import Record
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
)
from consumers.places import Log, Place
from schemas.catalogue import Catalogue


class Source(Protocol):
    """The partition's log, as its owner reads it."""

    async def describe(self) -> Log:
        """What Kafka says of the partition now."""
        ...

    def seek(self, offset: int) -> None:
        """Let the next fetch begin at this offset. Nothing is fetched before the first seek."""
        ...

    async def fetch(self, most: int, seconds: float) -> Sequence[Record]:
        """The next committed records, in offset order; none where none came within the time."""
        ...


class Publisher(Protocol):
    """Publishes what is committed."""

    async def publish(self, partition: int, kept: Iterable[Notification | KeptDeadLetter]) -> None:
        """Publish in this order, and return once all of it is acknowledged.

        Args:
            partition: where the records come from, on the orders' topic.

        Raises:
            KafkaError: some of it may be published and some not.
        """
        ...


class Session(Protocol):
    """A session with the database. Outside of `transaction` each call is a transaction of its own.

    Every call may raise what is in storage.database.AWAY: what it was to write may be written or not. Those that write
    raise what is in storage.database.REFUSED where a constraint or a type does not take the rows.
    """

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """What is written in the block is committed at its end: all of it, or nothing where the block raises.

        What is read in it is of one moment, that of its first call, and of the block's own writes.
        """
        ...

    async def take_place(self, topic: str, partition: int, partition_count: int, cluster_id: str) -> Place:
        """The partition's place, once no transaction is moving it any more; made where there is none."""
        ...

    async def advance(
        self, topic: str, partition: int, start: int, end: int, published_offset: int, counts: Counts
    ) -> bool:
        """Move the place from `start` to `end`, and the watermark up to `published_offset`; False where the place is
        not exactly `start`, or the row has changed since the own transaction began. Waits for a transaction that is
        moving it, and keeps others waiting until the own ends."""
        ...

    async def note_published(self, topic: str, partition: int, published_offset: int) -> None:
        """Move the watermark of the outbox, which only grows, and never passes the place."""
        ...

    async def record_catalogue(self, topic: str, partition: int, from_offset: int, catalogue: Catalogue) -> None:
        """From this offset on, this catalogue decides."""
        ...

    async def orders_named(self, keys: Sequence[OrderKey]) -> Sequence[tuple[Order, Wallet | None]]:
        """Those of the orders that are known, each with the wallet that it holds."""
        ...

    async def wallets_named(self, keys: Sequence[WalletKey]) -> Sequence[Wallet]:
        """Those of the wallets that are known."""
        ...

    async def first_free(self, many: Counter[Pool]) -> Sequence[Wallet]:
        """The free wallets with the lowest places: of each pool as many as asked for, lowest first."""
        ...

    async def first_waiting(self, many: Counter[Pool]) -> Sequence[Order]:
        """The waiting orders with the lowest places: of each pool as many as asked for, lowest first."""
        ...

    async def insert_orders(self, orders: Sequence[Order]) -> None:
        """Orders that were not known."""
        ...

    async def update_orders(self, orders: Sequence[Order]) -> None:
        """What can change of orders that are known."""
        ...

    async def insert_wallets(self, wallets: Sequence[Wallet]) -> None:
        """Wallets that were not known."""
        ...

    async def update_wallets(self, wallets: Sequence[Wallet]) -> None:
        """What can change of wallets that are known."""
        ...

    async def close_assignments(self, partition: int, releases: Sequence[Release]) -> None:
        """These open assignments end; before new ones begin, since a wallet has one open assignment at most."""
        ...

    async def insert_assignments(self, partition: int, assignments: Sequence[Assignment]) -> None:
        """New assignments, some of which may have ended again."""
        ...

    async def insert_dead_letters(self, topic: str, partition: int, kept: Sequence[KeptDeadLetter]) -> None:
        """Records that were refused."""
        ...

    async def unpublished_notifications(
        self, partition: int, start: int, end: int, most: int
    ) -> Sequence[Notification]:
        """The notifications of the assignments made from `start` up to `end`, in offset order."""
        ...

    async def unpublished_dead_letters(
        self, topic: str, partition: int, start: int, end: int, most: int
    ) -> Sequence[KeptDeadLetter]:
        """The records refused from `start` up to `end`, in offset order."""
        ...

    def terminate(self) -> None:
        """Give the session up without a farewell; a transaction that it is in the middle of comes to nothing."""
        ...


Connect = Callable[[str], Awaitable[Session]]
"""Opens a session under an application's name. Raises ServerUnreachable where it cannot."""
