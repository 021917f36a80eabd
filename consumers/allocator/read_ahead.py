"""What is fetched and read of a partition while its owner is busy with what came before."""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from types import TracebackType
from typing import Self

from consumers.allocator.in_hand import NOTHING, InHand, Load
from consumers.allocator.ports import Source
from consumers.allocator.reading import Reader, Record
from consumers.allocator.state import Entry

FETCH_SECONDS = 1.0
TURN_SECONDS = 0.005
MAX_BATCH_BYTES = 4 * 1024 * 1024
FEW, MANY = 5, 500
"Records that came together: fewer say nothing of the next ones, more are a backlog."
GATHER_SECONDS = 0.01
"So long the next ones gather in the log."
AHEAD = 2
"Batches that an owner may have in hand: the one that it processes, and the next one."


class ReadAhead:
    """Takes every record as soon as it comes: one that stays in the consumer keeps the consumer from fetching, for
    all partitions of the process.

    A fetch, a batch and a publish cost the same whatever is in them. So where several records came together, and more
    are close behind, these may gather in the meantime: there are fewer and larger steps, and who waits for the
    processors waits less. They gather in the log: what the consumer fetched before would be old when it is taken. A
    record that comes alone waits for nothing, nor does a backlog.
    """

    def __init__(
        self, source: Source, reader: Reader, in_hand: InHand, *, batch_records: int, on_change: Callable[[], None]
    ) -> None:
        """Args:
        batch_records: the most that `take` gives.
        on_change: called where `take` has something new to say.
        """
        self._source = source
        self._reader = reader
        self._in_hand = in_hand
        self._batch_records = batch_records
        self._on_change = on_change
        self._holding = self._taken = NOTHING
        self._entries: list[Entry] = []
        self._sizes: list[int] = []
        "Of the entries, in bytes."

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read_on())
        self._reading.add_done_callback(lambda _: self._on_change())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        await asyncio.wait({self._reading})
        self._taken = self._holding
        self.give_back()

    @property
    def holding(self) -> int:
        """How many of the records in hand are its own."""
        return self._holding.records

    def take(self) -> list[Entry]:
        """The next batch: what has come, up to the records and the bytes of one; one record at least, however large.
        Empty where nothing has come.

        Raises:
            KafkaError: nothing more will come.
        """
        if self._reading.done():
            self._reading.result()
        sizes = list(accumulate(self._sizes[: self._batch_records]))
        count = max(1, bisect_right(sizes, MAX_BATCH_BYTES))
        taken = self._entries[:count]
        del self._entries[:count], self._sizes[:count]
        if taken:
            self._taken = self._taken.plus(Load(count, sizes[count - 1]))
        return taken

    def give_back(self) -> None:
        """What was taken is applied."""
        given, self._taken = self._taken, NOTHING
        self._holding = self._holding.minus(given)
        self._in_hand.give_back(given)

    async def _read_on(self) -> None:
        while True:
            while self._room() < 1:
                await self._in_hand.change()
            if records := list(await self._source.fetch(1, FETCH_SECONDS)):
                if (more := self._room() - 1) > 0:
                    records += await self._source.fetch(more, 0)
                sizes = [len(record.key or b"") + len(record.value or b"") for record in records]
                fetched = Load(len(records), sum(sizes))
                self._holding = self._holding.plus(fetched)
                self._in_hand.take(fetched)
                await self._read(records, sizes)
                if FEW <= len(records) <= min(MANY, more):
                    await self._source.rest(GATHER_SECONDS)

    def _room(self) -> int:
        return min(self._in_hand.room(self.holding), AHEAD * self._batch_records - self.holding)

    async def _read(self, records: Sequence[Record], sizes: Sequence[int]) -> None:
        """Records can be made to be slow to read, and other partitions are in the middle of transactions meanwhile:
        they take turns."""
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + TURN_SECONDS
        for record, size in zip(records, sizes, strict=True):
            self._entries.append(self._reader.read(record))
            self._sizes.append(size)
            if loop.time() > turn_ends:
                self._on_change()
                await asyncio.sleep(0)
                turn_ends = loop.time() + TURN_SECONDS
        self._on_change()
