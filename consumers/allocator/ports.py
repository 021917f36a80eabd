"""What an owner needs of the servers: its log, the state in the database, and somebody who publishes.

The real ones are `handler._Partition`, `store.Store` and `outbox.Outbox`; the simulation has others. One suite of
tests holds both to what is promised here.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from consumers.allocator.reading import Record
from consumers.allocator.state import Batch, Changes, Entry, KeptDeadLetter, Notification, State
from consumers.places import Log, Place


class Source(Protocol):
    """The partition's log, as its owner reads it."""

    async def describe(self) -> Log:
        """What Kafka says of the partition now."""
        ...

    def seek(self, offset: int) -> None:
        """Let the next fetch begin at this offset."""
        ...

    async def fetch(self, most: int, seconds: float) -> Sequence[Record]:
        """The next committed records, in offset order; none where none came within the time."""
        ...


class StateStore(Protocol):
    """One owner's connection to the state of one partition.

    Every method but `close` may raise what is in storage.database.AWAY: the outcome is unknown then.
    """

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...

    async def take_place(self, partition_count: int, cluster_id: str) -> Place:
        """The partition's place, on a new connection, once every transaction that moves it has ended. Made at the
        first sight of the partition, with these as its number of partitions and its cluster.

        Raises:
            ServerUnreachable: no connection.
        """
        ...

    async def gather(self, entries: Sequence[Entry]) -> State:
        """What the entries need to be decided: as it is committed now, without a lock."""
        ...

    async def apply(self, batch: Batch, changes: Changes, published_offset: int) -> list[KeptDeadLetter]:
        """Write the changes and move the place from the batch's start to its end: all of it or nothing.

        Returns the dead letters as they are kept.

        Raises:
            Fenced: the place is not exactly at the batch's start; nothing is written.
            storage.database.REFUSED: the database does not take a record; nothing is written.
        """
        ...

    async def note_published(self, published_offset: int) -> None:
        """Move the outbox's watermark, which only grows, and never passes the place."""
        ...

    def unpublished(self, start: int, end: int) -> AsyncIterator[Notification | KeptDeadLetter]:
        """What the outbox holds of the offsets from `start` up to `end`: notifications, then dead letters."""
        ...

    async def close(self) -> None:
        """Give the connection up; a transaction that it was in the middle of ends."""
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
