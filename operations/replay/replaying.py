"""Replays the log with the allocator's own rules, up to where the database has applied it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import ConsumerRecord

from consumers.allocator.decide import decide
from consumers.allocator.reading import Reader
from consumers.allocator.state import Changes, Counts, Entry, Reason, Refusal, State
from consumers.places import Log, check_log_fits
from operations.kafka_log import KafkaLog
from operations.replay.inputs import CatalogueUnreadable, Inputs, Recorded
from operations.replay.progress import Bar
from operations.replay.state import ReplayedState
from schemas.catalogue import Catalogue
from storage.errors import WalletqError

BATCH_RECORDS = 1_000

Decide = Callable[[State, list[Entry], Catalogue, str, int], Changes]
"The allocator's `decide`, or another function with its signature."


@dataclass
class LogIsShort(WalletqError):
    """The first records are gone: nothing can be recomputed without them."""

    topic: str
    starts: Mapping[int, int]

    def __str__(self) -> str:
        gone = ", ".join(f"{self.topic}/{at} starts at offset {start}" for at, start in self.starts.items())
        return (
            f"the log does not reach back to its first record ({gone}): older records were deleted, so the state "
            "cannot be recomputed. Replay the partitions that are whole (--partition), and keep the log "
            "(`walletq topics check`)."
        )


@dataclass
class DatabaseWentBack(WalletqError):
    """While it was replayed, the database was put back to an earlier point, or its inputs were changed."""

    topic: str
    partition: int
    found: str

    def __str__(self) -> str:
        return (
            f"{self.topic}/{self.partition}: {self.found} while the log was replayed: the database was restored or "
            "changed by hand meanwhile. Run it again."
        )


@dataclass(frozen=True)
class Scope:
    """What of the log is looked at.

    Attributes:
        partitions: only these; None: all.
        start, end: only what happened from this offset up to that one, which is not looked at any more; None: all.
    """

    partitions: frozenset[int] | None = None
    start: int = 0
    end: int | None = None

    @property
    def is_range(self) -> bool:
        """Whether it is only a part of a partition's history."""
        return self.start > 0 or self.end is not None

    def has(self, partition: int) -> bool:
        """Whether the partition is looked at."""
        return self.partitions is None or partition in self.partitions

    def end_of(self, next_offset: int) -> int:
        """Up to where a partition is replayed that is applied up to `next_offset`."""
        return next_offset if self.end is None else min(next_offset, self.end)


@dataclass
class Replay:
    """A replay on its way: `advance` goes on to where the database is.

    Attributes:
        topic: the orders' topic.
        log: where its records are.
        state: what they have led to.
        decide: the rules.
        scope: which partitions, and up to which offset.
        catalogue: decides from the first record on, in place of the recorded ones.
        bar: is told how many offsets there are, and how many are passed.
        records: how many were read.
        places: how far each partition is replayed.
        counts: what became of the records of each partition.
    """

    topic: str
    log: KafkaLog
    state: ReplayedState
    decide: Decide = decide
    scope: Scope = field(default_factory=Scope)
    catalogue: Catalogue | None = None
    bar: Bar | None = None
    records: int = 0
    places: dict[int, int] = field(default_factory=dict)
    counts: dict[int, Counts] = field(default_factory=dict)
    _used: Inputs = field(default_factory=Inputs)
    _readers: dict[tuple[int, str], Reader] = field(default_factory=dict)

    async def missing_starts(self, inputs: Inputs) -> dict[int, int]:
        """The partitions in the scope whose first records are gone, and where they start.

        Raises:
            LogDoesNotFit: the log and the database are not of the same history.
        """
        begins, ends = await self.log.beginnings(self.topic), await self.log.ends(self.topic)
        count = self.log.partitions[self.topic]
        for at in inputs.rows:
            place = inputs.place(at)
            if place is not None:
                found = Log(self.log.cluster_id, count, begins.get(at, 0), ends.get(at, 0))
                check_log_fits(self.topic, at, place, found)
        return {at: start for at, start in begins.items() if start > 0 and self.scope.has(at)}

    def left(self, inputs: Inputs) -> int:
        """How many offsets there are from here to the database's places."""
        return sum(end - self.places.get(at, 0) for at, end in self._ends(inputs).items())

    async def advance(self, inputs: Inputs) -> None:
        """Go on to the places of these inputs.

        Raises:
            LogDoesNotFit, DatabaseWentBack, CatalogueUnreadable
        """
        if self.catalogue is not None:
            inputs = inputs.under(self.catalogue)
        ends = self._ends(inputs)
        self._check_goes_on(inputs, ends)
        starts = {at: self.places.get(at, 0) for at in ends}
        places = dict(starts)
        async for records in self.log.read(self.topic, starts, ends):
            at = records[0].partition
            for batch in batches(records):
                for catalogue, run in runs(batch, inputs.catalogues.get(at, []), self.topic):
                    self._take(at, run, catalogue, inputs)
            self.records += len(records)
            places[at] = records[-1].offset + 1
            self._tell(places, ends)
        self._tell(ends, ends)
        self.places |= ends
        self._used = inputs

    def _take(self, partition: int, records: Sequence[ConsumerRecord], catalogue: Catalogue, inputs: Inputs) -> None:
        """One batch, as an owner takes it."""
        reader = self._reader(partition, catalogue, inputs)
        entries = [reader.read(record) for record in records]
        if refused := inputs.refused.get(partition):
            entries = [as_refused(entry, refused) for entry in entries]
        state = self.state.gather(entries)
        changes = self.decide(state, entries, catalogue, self.topic, partition)
        self.state.apply(partition, changes)
        before = self.counts.get(partition, Counts())
        self.counts[partition] = Counts._make(map(sum, zip(before, changes.counts, strict=True)))

    def _reader(self, partition: int, catalogue: Catalogue, inputs: Inputs) -> Reader:
        key = (partition, catalogue.sha256)
        if key not in self._readers:
            self._readers[key] = Reader(catalogue, partition, inputs.rows[partition]["partition_count"])
        return self._readers[key]

    def _tell(self, places: Mapping[int, int], ends: Mapping[int, int]) -> None:
        if self.bar is not None:
            self.bar.tell(sum(places.values()), sum(ends.values()))

    def _ends(self, inputs: Inputs) -> dict[int, int]:
        return {at: self.scope.end_of(inputs.next_offset(at)) for at in inputs.rows if self.scope.has(at)}

    def _check_goes_on(self, inputs: Inputs, ends: Mapping[int, int]) -> None:
        """A database that is restored to an earlier point is at places that are passed already."""
        for at, place in self.places.items():
            if place > ends.get(at, 0):
                found = f"the database has applied it up to {ends.get(at, 0)}, and had up to {place} before"
                raise DatabaseWentBack(self.topic, at, found)
            here = {at: place}
            if inputs.up_to(here) != self._used.up_to(here):
                raise DatabaseWentBack(self.topic, at, "the recorded catalogues or the refused records changed")


def as_refused(entry: Entry, refused: Mapping[int, str]) -> Entry:
    """The entry; as one that the database did not take, where its offset is among these."""
    message = refused.get(entry.offset)
    return entry if message is None else entry._replace(refusal=Refusal(Reason.STORAGE_REFUSED, message))


def batches(records: Sequence[ConsumerRecord]) -> Iterator[Sequence[ConsumerRecord]]:
    """The records in batches, as an owner fetches them."""
    for start in range(0, len(records), BATCH_RECORDS):
        yield records[start : start + BATCH_RECORDS]


def runs(
    records: Sequence[ConsumerRecord], recorded: Sequence[Recorded], topic: str
) -> Iterator[tuple[Catalogue, Sequence[ConsumerRecord]]]:
    """The records, which are of one partition, by the catalogue that decided.

    Raises:
        CatalogueUnreadable: none is recorded for the first of them.
    """
    first, last = records[0].offset, records[-1].offset
    if not recorded or first < recorded[0].from_offset:
        raise CatalogueUnreadable(topic, records[0].partition, first, "is not recorded")
    ends = [*(since for since, _ in recorded[1:]), last + 1]
    for (since, catalogue), end in zip(recorded, ends, strict=True):
        if end > first and (run := [record for record in records if since <= record.offset < end]):
            yield catalogue, run
