"""What the allocator needs of the servers: a partition's log, a session with the database, and somebody who publishes.

The real ones are `source.PartitionSource`, `session.DatabaseSession` and `outbox.Outbox`; the simulation has others.
One suite of tests holds both to what is promised here.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from consumers.allocator.needs import Needs
from consumers.allocator.reading import Record
from consumers.allocator.state import KeptDeadLetter, Notification, State, Step
from consumers.places import Log, Place


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

    async def rest(self, seconds: float) -> None:
        """Fetch nothing for so long, neither ahead: what comes gathers in the log, and comes together then. Where it is
        cancelled, nothing comes before the next seek."""
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
    """A session with the database. Each call is a transaction of its own.

    Every call may raise what is in storage.database.AWAY: what it was to write may be written or not. Those that write
    raise what is in storage.database.REFUSED where a constraint or a type does not take the rows.
    """

    async def take_place(self, topic: str, partition: int, partition_count: int, cluster_id: str) -> Place:
        """The partition's place, once no transaction is moving it any more; made where there is none.

        Not where the topic's other partitions had another count or cluster: then it is 0 of that topic, which is not
        the one that is consumed now.
        """
        ...

    async def note_published(self, topic: str, partition: int, published_offset: int) -> None:
        """Move the watermark of the outbox, which only grows, and never passes the place."""
        ...

    async def gather(self, topic: str, partition: int, needs: Needs) -> tuple[int, State]:
        """The place, and what the needs name, all of one moment.

        Of the orders and wallets those that are known, an order's wallet with it. Of each pool the free wallets and the
        waiting orders with the lowest places, lowest first: as many as are needed, or all that there are.
        """
        ...

    async def apply(self, topic: str, partition: int, step: Step) -> bool:
        """Write all of the step or, where the place is not exactly at its start, nothing of it and return False.

        Of a row that is known, what a change does not tell stays as it was; see state.Order and state.Wallet.
        Waits for whoever else is moving the place. It may still happen when its caller has long given up.
        """
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
        """Give the session up without a farewell. What it is in the middle of may be done or not."""
        ...


Connect = Callable[[str], Awaitable[Session]]
"""Opens a session under an application's name. Raises ServerUnreachable where it cannot."""
