"""The owner of one partition: takes its place, processes what is fetched from there, publishes what is committed.

A batch passes three stages, each beside the others: it is fetched and read while the one before it is processed, and
published while the one behind it is.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter_ns

import structlog
from aiokafka.errors import KafkaError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from consumers.allocator.decide import decide
from consumers.allocator.in_hand import InHand
from consumers.allocator.ports import Publisher, Source
from consumers.allocator.publishing import Publishing
from consumers.allocator.read_ahead import ReadAhead
from consumers.allocator.reading import Reader
from consumers.allocator.state import Applied, Batch, Entry, Reason, Refusal
from consumers.allocator.store import PAGE, Store
from consumers.errors import Fenced, LogDoesNotFit
from consumers.places import RESTORE, Log, Place, check_log_fits
from schemas.catalogue import Catalogue
from storage.database import AWAY, REFUSED
from storage.errors import ServerUnreachable
from storage.waiting import first_of

log = structlog.get_logger(__name__)

# A place that is gone, a database or a broker that is away: each is answered by taking the place again.
RETRIED = (Fenced, ServerUnreachable, KafkaError, *AWAY)
IDLE_SECONDS = 0.1
"After so long without a record the watermark is noted without a batch."
PATIENCE_SECONDS = 10


class Owner:
    """Owns a partition from `run` until it is stopped."""

    def __init__(
        self,
        store: Store,
        source: Source,
        outbox: Publisher,
        catalogue: Catalogue,
        *,
        batch_records: int,
        in_hand: InHand,
        on_applied: Callable[[Applied], None] | None = None,
    ) -> None:
        """Args:
        on_applied: is told of every batch, for metrics and traces.
        """
        self._store = store
        self._source = source
        self._outbox = outbox
        self._catalogue = catalogue
        self._batch_records = batch_records
        self._in_hand = in_hand
        self._on_applied = on_applied
        self._log = log.bind(topic=store.topic, partition=store.partition)
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        "There may be something to do."
        self.next_offset: int | None = None
        "The owner's place: the first record that is not yet applied. None until it is taken."
        self.step = "start"
        "What it is doing, in a word."
        self.error: str | None = None
        "Why its last attempt came to nothing; None once it has come on."
        self._publishing: Publishing | None = None
        self._ahead: ReadAhead | None = None
        self._reader = Reader(catalogue, store.partition, 1)
        self._noted_offset = 0
        "The watermark in the partition's row."

    async def run(self) -> None:
        """Process the partition until `stop`, through outages of the servers.

        Raises:
            LogDoesNotFit: the log and the database are not of the same history.
        """
        try:
            while not self._stopping.is_set():
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(RETRIED),
                    wait=wait_random_exponential(multiplier=0.1, max=2),
                    before_sleep=self._tell,
                    sleep=self._sleep,
                ):
                    with attempt:
                        if not self._stopping.is_set():
                            await self._own()
        finally:
            await self._store.close()

    def stop(self) -> None:
        """Let `run` return once the batch in hand is applied and published."""
        self._stopping.set()
        self._woken.set()

    @property
    def published_offset(self) -> int:
        """Below it every notification and dead letter is acknowledged."""
        return self._noted_offset if self._publishing is None else self._publishing.published_offset

    @property
    def holding(self) -> int:
        """How many records are fetched and not applied."""
        return 0 if self._ahead is None else self._ahead.holding

    async def _own(self) -> None:
        """Process the partition from its place on, until stopped or until the place is lost.

        Raises:
            RETRIED, where nothing was processed: the next attempt is to wait for a while.
        """
        taken = await self._take_place()
        try:
            async with Publishing(self._outbox, self._store.partition, taken) as publishing:
                self._publishing = publishing
                await self._process_until_stopped(publishing)
        except RETRIED as error:
            if self.next_offset == taken:
                raise
            self.error = _name(error)
            self._log.warning("place_lost", error=self.error)
        finally:
            self._publishing = self._ahead = None

    async def _take_place(self) -> int:
        """Read the place, check that it is one in this log, and publish again what may not be published."""
        self.step = "take_place"
        description = await self._source.describe()
        place = await self._store.take_place(description.partition_count, description.cluster_id)
        await self._check(place, description)
        self._reader = Reader(self._catalogue, self._store.partition, place.partition_count)
        self._noted_offset = place.published_offset
        self.next_offset = place.next_offset
        if place.published_offset < place.next_offset:
            self.step = "publish_again"
            await self._publish_again(place)
        self._source.seek(place.next_offset)
        self._log.info("place_taken", next_offset=place.next_offset)
        return place.next_offset

    async def _publish_again(self, place: Place) -> None:
        """Publish what is committed and may not be published: whoever owned the partition before may not have lived to.

        After a rebuild that may be all there ever was: it goes out page by page, each of which moves the watermark.
        """
        records = 0
        for start in range(place.published_offset, place.next_offset, PAGE):
            await self._note(start)
            end = min(start + PAGE, place.next_offset)
            page = [item async for item in self._store.unpublished(start, end)]
            await self._outbox.publish(self._store.partition, page)
            records += len(page)
        self._log.info("outbox_published_again", records=records)

    async def _check(self, place: Place, found: Log) -> None:
        """A broker that has just come back may show an end that is too low for some seconds."""
        for _ in range(PATIENCE_SECONDS):
            try:
                check_log_fits(*self._names, place, found)
                return
            except LogDoesNotFit as error:
                if not error.may_pass:
                    raise
                self._log.warning("log_does_not_fit", found=error.found)
                await self._sleep(1.0)
                found = await self._source.describe()
        check_log_fits(*self._names, place, found)

    async def _process_until_stopped(self, publishing: Publishing) -> None:
        async with ReadAhead(
            self._source, self._reader, self._in_hand, batch_records=self._batch_records, on_change=self._woken.set
        ) as ahead:
            self._ahead = ahead
            while not self._stopping.is_set():
                self.step = "wait"
                self._woken.clear()  # before the look: what comes from here on wakes it again
                publishing.check()
                if entries := ahead.take():
                    await self._process(self._batch(entries), publishing)
                    ahead.give_back()
                elif self._noted_offset == self.next_offset:
                    self.error = None
                    await self._woken.wait()
                elif not await first_of(self._woken, IDLE_SECONDS):
                    await self._note(publishing.published_offset)
            await publishing.done()
            await self._note(publishing.published_offset)

    def _batch(self, entries: list[Entry]) -> Batch:
        start = self.next_offset
        assert start is not None
        if entries[0].offset < start:
            raise LogDoesNotFit(
                *self._names, f"a record at offset {entries[0].offset} came after the place {start}", RESTORE
            )
        return Batch(start, entries[-1].offset + 1, entries)

    async def _process(self, batch: Batch, publishing: Publishing) -> None:
        published_offset = publishing.published_offset
        try:
            began = self._begin("gather")
            state = await self._store.gather(batch)
            gathered = self._begin("decide")
            changes = decide(state, batch.entries, self._catalogue, *self._names)
            decided = self._begin("apply")
            dead_letters = await self._store.apply(batch, changes, published_offset)
            applied = self._begin("publish")
        except REFUSED as error:
            await self._halve(batch, error, publishing)
            return
        self.next_offset = batch.end
        self._noted_offset = published_offset
        self.error = None
        if dead_letters:
            first = dead_letters[0]  # its message stays out: it may repeat what a customer wrote
            self._log.warning("dead_letters", records=len(dead_letters), first_offset=first.offset, reason=first.reason)
        if self._on_applied is not None:
            self._on_applied(Applied(batch, changes, began, gathered, decided, applied))
        await publishing.add(batch.end, [*changes.notifications, *dead_letters])

    async def _halve(self, batch: Batch, error: BaseException, publishing: Publishing) -> None:
        """Find the record that the database refuses; the others are processed."""
        entries = batch.entries
        if len(entries) > 1:
            middle = len(entries) // 2
            await self._process(self._batch(entries[:middle]), publishing)
            await self._process(self._batch(entries[middle:]), publishing)
            return
        refusal = Refusal(Reason.STORAGE_REFUSED, f"the database refuses the record: {_name(error)}")
        if entries[0].refusal is not None and entries[0].refusal.reason is Reason.STORAGE_REFUSED:
            raise error  # it refuses the dead letter too: that is no matter of the record
        self._log.error("record_refused", offset=entries[0].offset, error=_name(error))
        await self._process(batch._replace(entries=[entries[0]._replace(refusal=refusal)]), publishing)

    async def _note(self, published_offset: int) -> None:
        """Move the watermark where no batch comes to carry it."""
        if self._noted_offset < published_offset:
            await self._store.note_published(published_offset)
            self._noted_offset = published_offset

    def _begin(self, step: str) -> int:
        self.step = step
        return perf_counter_ns()

    @property
    def _names(self) -> tuple[str, int]:
        return self._store.topic, self._store.partition

    async def _sleep(self, seconds: float) -> None:
        await first_of(self._stopping, seconds)

    def _tell(self, state: RetryCallState) -> None:
        self.error = _name(state.outcome.exception() if state.outcome else None)
        self._log.warning("place_lost", attempt=state.attempt_number, error=self.error)


def _name(error: BaseException | None) -> str:
    """What an error says, on one line; drivers put a record's content into `detail`, which stays out."""
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
