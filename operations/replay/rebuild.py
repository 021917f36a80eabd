"""Fills an empty database from the log, through the allocator's own Store: its fence and constraints hold here too."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
from aiokafka import ConsumerRecord

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
from operations.verify.notifications import read_notifications
from operations.verify.offsets import OffsetSet
from operations.verify.snapshot import take_snapshot
from schemas.catalogue import Catalogue
from schemas.settings import Settings
from schemas.topics import HEADER_MESSAGE, HEADER_REASON, HEADER_SHA256, Names, names
from storage.database import REFUSED
from storage.errors import WalletqError

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
        contradicted: the first few notifications on the topic that say otherwise than the database, in words.
        foreign: at how many records dead letters say that the database refused them, and have other bytes than the
            record; they are passed over.
    """

    catalogue: Catalogue
    records: int = 0
    refused: int = 0
    unpublished: int = 0
    contradicted: Sequence[str] = ()
    foreign: int = 0
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
    letters = await _read_dead_letters(log, of)  # nobody adds any: an empty database has no allocator
    rebuilding = _Rebuilding(settings, log, of.orders, given, catalogue, letters.refused)
    try:
        await rebuilding.run(begins, ends, bar)
        bar.say("comparing with what is published")
        async with take_snapshot(settings) as snapshot:
            seen = await read_notifications(snapshot, log, of)
            rebuilding.result.contradicted = seen.wrong.named
            await rebuilding.note_published(snapshot.connection, seen.notified, letters.places)
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
        refused_before: Mapping[tuple[int, int], Sequence["_RefusedBefore"]],
    ) -> None:
        self._connect = connecting(settings.need_database())
        self._log = log
        self._topic = topic
        self._partition_count = log.partitions[topic]
        self._given = given
        self._refused_before = refused_before
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
                    refused = self._refused(at, run)
                    entries = [as_refused(reader.read(record), refused) for record in run]
                    await self._apply(await self._store(at, catalogue), catalogue, entries)
            bar.tell(sum(self.result.places.values()), sum(ends.values()))

    async def note_published(
        self,
        connection: asyncpg.Connection,
        notified: Mapping[int, OffsetSet],
        lettered: Mapping[int, OffsetSet],
    ) -> None:
        """Move each watermark to the first notification or dead letter that is not on its topic.

        Args:
            connection: in a transaction.
            notified, lettered: by partition, the offsets whose notifications and whose dead letters are on it.
        """
        none = OffsetSet()
        for at, place in self.result.places.items():
            watermark = min(
                await _first_missing(connection, place, notified.get(at, none), SQL["assigned_offsets"], at),
                await _first_missing(
                    connection, place, lettered.get(at, none), SQL["refused_offsets"], self._topic, at
                ),
            )
            self.result.unpublished += watermark < place
            store, _ = self._stores[at]
            await store.note_published(watermark)

    async def close(self) -> None:
        """Give the connections up."""
        for store, _ in self._stores.values():
            await store.close()

    def _refused(self, at: int, records: Sequence[ConsumerRecord]) -> dict[int, str]:
        """Those of the records that the database has refused before, and what it said."""
        given = self._given.refused.get(at, {})
        refused = {}
        for record in records:
            letters = self._refused_before.get((at, record.offset), ())
            before = next((letter for letter in letters if letter.is_of(record)), None)
            self.result.foreign += before is None and bool(letters)
            message = given.get(record.offset) if before is None else before.message
            if message is not None:
                refused[record.offset] = message
        return refused

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
            changes = decide(await store.gather(batch), entries, catalogue, self._topic, at)
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


class _RefusedBefore(NamedTuple):
    """What a dead letter says of a record that the database did not take."""

    message: str
    key: bytes | None
    sha256: str | None
    "Of the value; None where there is none."

    def is_of(self, record: ConsumerRecord) -> bool:
        """Whether that is this record: anybody may write to the topic, and it may have seen another log."""
        return bool(self.key in (record.key, None) and self.sha256 == _sha256(record.value))


class _DeadLetters(NamedTuple):
    """What is on their topic, of records of the orders' topic."""

    refused: dict[tuple[int, int], list[_RefusedBefore]]
    "By partition and offset: what the database did not take."
    places: dict[int, OffsetSet]
    "By partition: the offsets of all."


async def _read_dead_letters(log: KafkaLog, of: Names) -> _DeadLetters:
    topic = of.dead_letters(of.orders)
    found = _DeadLetters(defaultdict(list), defaultdict(OffsetSet))
    async for records in log.read(topic, await log.beginnings(topic), await log.ends(topic)):
        for record in records:
            headers, place = dict(record.headers), place_of(record)
            if place is None or place[0] != of.orders:
                continue
            found.places[place[1]].add(place[2])
            if headers.get(HEADER_REASON) == Reason.STORAGE_REFUSED.encode():
                message = (headers.get(HEADER_MESSAGE) or b"").decode(errors="replace")
                left_out = headers.get(HEADER_SHA256)
                sha256 = left_out.decode(errors="replace") if left_out else _sha256(record.value)
                found.refused[place[1], place[2]].append(_RefusedBefore(message, record.key, sha256))
    return found


def _sha256(value: bytes | None) -> str | None:
    return None if value is None else hashlib.sha256(value).hexdigest()


async def _first_missing(
    connection: asyncpg.Connection, place: int, found: OffsetSet, query: str, *arguments: object
) -> int:
    """The first of the offsets that is not among those found; the place where all are."""
    async for (offset,) in connection.cursor(query, *arguments, prefetch=PREFETCH):
        if offset not in found:
            return int(offset)
    return place
