"""Fills an empty database from the log, through the allocator's own Store: its fence and constraints hold here too."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import orjson

from consumers.allocator.decide import decide
from consumers.allocator.reading import Reader
from consumers.allocator.session import connecting
from consumers.allocator.state import Batch, Entry, Reason, Refusal
from consumers.allocator.store import Store
from consumers.errors import Fenced
from operations.kafka_log import KafkaLog
from operations.replay.audit import looking
from operations.replay.inputs import SQL, Inputs, Recorded
from operations.replay.progress import Bar
from operations.replay.replaying import LogIsShort, as_refused, batches, runs
from operations.verify.dead_letters import place_of
from operations.verify.offsets import OffsetSet
from schemas.catalogue import Catalogue
from schemas.settings import Settings
from schemas.topics import HEADER_MESSAGE, HEADER_REASON, Names, names
from storage.database import REFUSED
from storage.errors import WalletqError

CHUNK = 2_000
PREFETCH = 5_000


@dataclass
class NotEmpty(WalletqError):
    """Only an empty database is filled."""

    rows: Mapping[str, int]

    def __str__(self) -> str:
        found = ", ".join(f"{table} has {rows:,} rows" for table, rows in self.rows.items())
        return (
            f"the database is not empty ({found}): only an empty one is rebuilt. "
            "Make a new database, run `walletq migrate` on it, and point WALLETQ_DATABASE_URL at it."
        )


@dataclass
class SomebodyElseWrites(WalletqError):
    """Another process has moved a place meanwhile."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return (
            f"{self.topic}/{self.partition}: another process has moved the place while the database was rebuilt. "
            "Stop the allocators, make a new empty database, and rebuild that one."
        )


@dataclass
class Rebuilt:
    """What a rebuild came to.

    Attributes:
        records: how many were applied.
        refused: how many of them the database did not take, in the past or now.
        unpublished: how many partitions have notifications or dead letters that are not on their topics: the next
            allocator publishes them.
        catalogue: which one decided where none was given.
    """

    catalogue: Catalogue
    records: int = 0
    refused: int = 0
    unpublished: int = 0
    places: dict[int, int] = field(default_factory=dict)


async def rebuild(settings: Settings, log: KafkaLog, given: Inputs, catalogue: Catalogue, bar: Bar) -> Rebuilt:
    """Fill the database, which must be empty, up to the log's end.

    Args:
        given: catalogues and refused records that are known from before.
        catalogue: decides where `given` has none.

    Raises:
        NotEmpty, LogIsShort, SomebodyElseWrites
    """
    of = names(settings)
    begins, ends = await log.beginnings(of.orders), await log.ends(of.orders)
    if gone := {at: start for at, start in begins.items() if start > 0}:
        raise LogIsShort(of.orders, gone)
    async with looking(settings) as connection:
        await _check_empty(connection)
        refused = await _refused_on_topic(log, of)
        for at, offsets in given.refused.items():
            refused[at] = {**offsets, **refused[at]}
        rebuilding = _Rebuilding(settings, log, of.orders, given, catalogue, refused)
        try:
            await rebuilding.run(begins, ends, bar)
            bar.say("looking for what is published")
            await rebuilding.note_published(connection, await _published(connection, log, of))
        except Fenced as error:
            raise SomebodyElseWrites(error.topic, error.partition) from error
        finally:
            await rebuilding.close()
    return rebuilding.result


class _Rebuilding:
    """The stores of all partitions, and where each of them is."""

    def __init__(
        self,
        settings: Settings,
        log: KafkaLog,
        topic: str,
        given: Inputs,
        catalogue: Catalogue,
        refused: Mapping[int, Mapping[int, str]],
    ) -> None:
        self._connect = connecting(settings.need_database())
        self._log = log
        self._topic = topic
        self._partition_count = log.partitions[topic]
        self._given = given
        self._refused = refused
        self._stores: dict[int, tuple[Store, Catalogue]] = {}
        self.result = Rebuilt(catalogue, places=dict.fromkeys(range(self._partition_count), 0))

    async def run(self, begins: Mapping[int, int], ends: Mapping[int, int], bar: Bar) -> None:
        """Apply the log."""
        for at in self.result.places:
            await self._store(at, self._recorded(at)[0].catalogue)
        async for records in self._log.read(self._topic, begins, ends):
            at = records[0].partition
            for batch in batches(records):
                for catalogue, run in runs(batch, self._recorded(at), self._topic):
                    reader = Reader(catalogue, at, self._partition_count)
                    entries = [as_refused(reader.read(record), self._refused.get(at, {})) for record in run]
                    await self._apply(await self._store(at, catalogue), catalogue, entries)
            bar.tell(sum(self.result.places.values()), sum(ends.values()))

    async def note_published(
        self, connection: asyncpg.Connection, published: tuple[dict[int, OffsetSet], dict[int, OffsetSet]]
    ) -> None:
        """Move each watermark to the first notification or dead letter that is not on its topic."""
        notified, lettered = published
        for at, place in self.result.places.items():
            watermark = min(
                await _first_missing(connection, place, notified[at], SQL["assigned_offsets"], at),
                await _first_missing(connection, place, lettered[at], SQL["refused_offsets"], self._topic, at),
            )
            self.result.unpublished += watermark < place
            store, _ = self._stores[at]
            await store.note_published(watermark)

    async def close(self) -> None:
        """Give the connections up."""
        for store, _ in self._stores.values():
            await store.close()

    def _recorded(self, at: int) -> list[Recorded]:
        return list(self._given.catalogues.get(at) or [Recorded(0, self.result.catalogue)])

    async def _store(self, at: int, catalogue: Catalogue) -> Store:
        """The partition's store under this catalogue, which it records where it is another one."""
        if at not in self._stores or self._stores[at][1] != catalogue:
            if at in self._stores:
                await self._stores[at][0].close()
            store = Store(self._connect, self._topic, at, catalogue)
            self._stores[at] = (store, catalogue)
            place = await store.take_place(self._partition_count, self._log.cluster_id)
            if place.next_offset != self.result.places[at]:
                raise Fenced(self._topic, at, self.result.places[at])
        return self._stores[at][0]

    async def _apply(self, store: Store, catalogue: Catalogue, entries: list[Entry]) -> None:
        """A batch; a record that the database does not take is found by halving it, as an owner does."""
        at = store.partition
        batch = Batch(self.result.places[at], entries[-1].offset + 1, entries)
        try:
            changes = decide(await store.gather(entries), entries, catalogue, self._topic, at)
            kept = await store.apply(batch, changes, 0)
        except REFUSED as error:
            if len(entries) > 1:
                middle = len(entries) // 2
                await self._apply(store, catalogue, entries[:middle])
                await self._apply(store, catalogue, entries[middle:])
                return
            before = entries[0].refusal
            if before is not None and before.reason is Reason.STORAGE_REFUSED:
                raise  # it does not take the dead letter either
            refusal = Refusal(Reason.STORAGE_REFUSED, f"the database refuses the record: {type(error).__name__}")
            await self._apply(store, catalogue, [entries[0]._replace(refusal=refusal)])
            return
        self.result.places[at] = batch.end
        self.result.records += len(entries)
        self.result.refused += sum(letter.reason == Reason.STORAGE_REFUSED for letter in kept)


async def _check_empty(connection: asyncpg.Connection) -> None:
    rows = {row["table"]: row["rows"] for row in await connection.fetch(SQL["rows_of_the_pipeline"]) if row["rows"]}
    if rows:
        raise NotEmpty(rows)


async def _refused_on_topic(log: KafkaLog, of: Names) -> dict[int, dict[int, str]]:
    """What the database did not take, as its dead letters say: by partition the offsets and the messages."""
    topic = of.dead_letters(of.orders)
    refused: dict[int, dict[int, str]] = defaultdict(dict)
    async for records in log.read(topic, await log.beginnings(topic), await log.ends(topic)):
        for record in records:
            headers, place = dict(record.headers), place_of(record)
            if place and place[0] == of.orders and headers.get(HEADER_REASON) == Reason.STORAGE_REFUSED.encode():
                refused[place[1]][place[2]] = (headers.get(HEADER_MESSAGE) or b"").decode(errors="replace")
    return refused


async def _published(
    connection: asyncpg.Connection, log: KafkaLog, of: Names
) -> tuple[dict[int, OffsetSet], dict[int, OffsetSet]]:
    """By partition, the offsets whose notifications and whose dead letters are on their topics."""
    notified: dict[int, OffsetSet] = defaultdict(OffsetSet)
    topic = of.notifications
    async for records in log.read(topic, await log.beginnings(topic), await log.ends(topic)):
        for start in range(0, len(records), CHUNK):
            ids = list(_ids(record.value for record in records[start : start + CHUNK]))
            for at, offset in await connection.fetch(SQL["places_of_assignments"], ids):
                notified[at].add(offset)
    lettered: dict[int, OffsetSet] = defaultdict(OffsetSet)
    topic = of.dead_letters(of.orders)
    async for records in log.read(topic, await log.beginnings(topic), await log.ends(topic)):
        for place in filter(None, map(place_of, records)):
            if place[0] == of.orders:
                lettered[place[1]].add(place[2])
    return notified, lettered


def _ids(values: Iterable[bytes | None]) -> Iterator[UUID]:
    """The ids of notifications; what is none is left out."""
    for value in values:
        try:
            yield UUID(orjson.loads(value or b"")["notification_id"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


async def _first_missing(
    connection: asyncpg.Connection, place: int, found: OffsetSet, query: str, *arguments: object
) -> int:
    """The first of the offsets that is not among those found; the place where all are."""
    async with connection.transaction(readonly=True):
        async for (offset,) in connection.cursor(query, *arguments, prefetch=PREFETCH):
            if offset not in found:
                return int(offset)
    return place
