"""The state of one partition, as its owner reads and writes it."""

import hashlib
from collections.abc import AsyncIterator

from consumers.allocator.needs import needs_of
from consumers.allocator.ports import Connect, Session
from consumers.allocator.state import Batch, Changes, DeadLetter, KeptDeadLetter, Notification, State, Step
from consumers.dead_letters import kept
from consumers.errors import Fenced
from consumers.places import Place
from schemas.catalogue import Catalogue

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

    async def gather(self, batch: Batch) -> State:
        """What the batch needs to know, all of one moment.

        Raises:
            Fenced: the place is not at the batch's start; a state that others have moved on is none to decide on.
            storage.database.AWAY.
        """
        place, state = await self._live.gather(self.topic, self.partition, needs_of(batch.entries))
        if place != batch.start:
            raise Fenced(self.topic, self.partition, batch.start)
        return state

    async def apply(self, batch: Batch, changes: Changes, published_offset: int) -> list[KeptDeadLetter]:
        """Write the changes and move the place, all or nothing; returns the dead letters as they are kept.

        Raises:
            Fenced: the place is not at the batch's start any more.
            storage.database.REFUSED: the database does not take a record.
            storage.database.AWAY: the outcome is unknown; take the place again.
        """
        dead_letters = [as_kept(dead_letter) for dead_letter in changes.dead_letters]
        catalogue = None if self._recorded_catalogue == self._catalogue.sha256 else self._catalogue
        step = Step(batch.start, batch.end, published_offset, changes, dead_letters, catalogue)
        if not await self._live.apply(self.topic, self.partition, step):
            raise Fenced(self.topic, self.partition, batch.start)
        self._recorded_catalogue = self._catalogue.sha256
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


def as_kept(dead_letter: DeadLetter) -> KeptDeadLetter:
    """The row of a refused record; what is too large is left out of it."""
    entry, refusal = dead_letter
    value = entry.value
    return KeptDeadLetter(
        offset=entry.offset,
        reason=refusal.reason.value,
        message=refusal.message,
        record_at=entry.at,
        key=kept(entry.key),
        value=kept(value),
        value_length=None if value is None else len(value),
        value_sha256=None if value is None else hashlib.sha256(value).hexdigest(),
        traceparent=entry.traceparent,
    )
