"""From the notification topic to deliveries: the consumer's loop."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from consumers.errors import Fenced, LogDoesNotFit, MembershipLost
from consumers.mailer.deliveries import Deliveries
from consumers.mailer.notices import Changes, Notice, Record, decide, read_notice
from consumers.mailer.patience import SERVER_AWAY, patiently
from consumers.mailer.topic import Topic
from consumers.places import Log, Place, check_log_fits
from schemas.events import WalletAssigned
from schemas.trace import read_traceparent

log = structlog.get_logger(__name__)

POLL_MS = 200
BATCH_RECORDS = 1_000
COMMIT_SECONDS = 5.0
MISFIT_SECONDS = 10.0
"A log that does not fit for so long will not fit any more: until then a broker may still be catching up."


class Intake(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads notifications from where the database says, and writes their deliveries together with the new place."""

    def __init__(
        self, consumer: AIOKafkaConsumer, deliveries: Deliveries, topic: Topic, on_changes: Callable[[Changes], None]
    ) -> None:
        """Wire it; nothing happens yet.

        Args:
            consumer: started, not yet subscribed.
            deliveries: the mailer's tables.
            topic: the notification topic as it is.
            on_changes: is told what has been written.
        """
        self._consumer = consumer
        self._deliveries = deliveries
        self._topic = topic
        self._on_changes = on_changes
        self._places: dict[int, int] = {}
        self._unplaced: set[int] = set()
        self.taking = 0
        "Notifications that are fetched and not written."
        self.error: str | None = None
        "Why the last turn came to nothing; None once one has come to its end."
        self._committed: dict[int, int] = {}
        self._commit_at = 0.0
        self._misfit_since: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop`.

        Raises:
            MembershipLost: this consumer is at its end; go on with another.
            LogDoesNotFit: the log and the database are not of the same history.
        """
        self._consumer.subscribe([self._topic.name], listener=self)
        while not stop.is_set():
            await patiently(self._turn, what="intake", stop=stop)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Forget their places: whoever has them next reads them from the database."""
        for partition in revoked:
            self._places.pop(partition.partition, None)
            self._unplaced.discard(partition.partition)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Nothing is fetched before the database has said from where."""
        self._lose_places(partition.partition for partition in assigned)

    @property
    def places(self) -> dict[int, int | None]:
        """Where each of its partitions goes on; None where that is not known yet."""
        return dict.fromkeys(self._unplaced) | self._places

    async def _turn(self) -> None:
        """One look at the topic. Whatever goes wrong, the places are read again: a commit may have lost its reply."""
        try:
            if self._unplaced:
                await self._find_places()
            fetched = await self._fetch()
            if notices := self._read(fetched):
                self.taking = len(notices)
                await self._take(notices)
            self.error = None
            await self._commit_for_lag_tools()
        except Fenced as fenced:
            log.info("fenced", topic=fenced.topic, partition=fenced.partition, expected_offset=fenced.expected_offset)
            self._lose_places(list(self._places))
        except SERVER_AWAY as error:
            self.error = type(error).__name__
            self._lose_places(list(self._places))
            raise
        finally:
            self.taking = 0

    async def _fetch(self) -> Mapping[TopicPartition, list[ConsumerRecord]]:
        try:
            fetched: Mapping[TopicPartition, list[ConsumerRecord]] = await self._consumer.getmany(
                timeout_ms=POLL_MS, max_records=BATCH_RECORDS
            )
        except KafkaError as error:  # a server that is away is no error here: the consumer itself waits for it
            raise MembershipLost(f"{type(error).__name__}: {error}") from error
        return fetched

    async def _take(self, notices: list[Notice]) -> None:
        places = {record.partition: self._places[record.partition] for record, _ in notices}
        known = await self._deliveries.gather([said for _, said in notices if isinstance(said, WalletAssigned)])
        changes = decide(notices, known, places)
        await self._deliveries.apply(changes)
        for step in changes.steps:
            if self._places.get(step.partition) == step.start:
                self._places[step.partition] = step.end
        for letter in changes.dead_letters:
            log.warning(
                "dead_letter",
                topic=self._topic.name,
                partition=letter.partition,
                offset=letter.offset,
                reason=letter.reason,
                problem=letter.message,
            )
        self._on_changes(changes)

    def _read(self, fetched: Mapping[TopicPartition, list[ConsumerRecord]]) -> list[Notice]:
        """The fetched records, of partitions whose place is known."""
        notices = []
        for partition, records in fetched.items():
            place = self._places.get(partition.partition)
            if place is None or not records:
                continue
            if records[0].offset < place:
                self._lose_places([partition.partition])
                continue
            notices += [
                read_notice(
                    Record(partition.partition, r.offset, r.timestamp, r.key, r.value, read_traceparent(r.headers))
                )
                for r in records
            ]
        return notices

    def _lose_places(self, partitions: Iterable[int]) -> None:
        mine = {tp.partition for tp in self._consumer.assignment()}
        for partition in partitions:
            self._places.pop(partition, None)
            if partition not in mine:
                continue
            self._unplaced.add(partition)
            at = TopicPartition(self._topic.name, partition)
            self._consumer.pause(at)
            # Without a position aiokafka raises NoOffsetForPartitionError even for a paused partition.
            self._consumer.seek(at, 0)

    async def _find_places(self) -> None:
        topic = self._topic
        try:
            places = await self._fitting_places(sorted(self._unplaced))
        except LogDoesNotFit as problem:
            self._wait_for_fit(problem)
            return
        self._misfit_since = None
        mine = self._consumer.assignment()
        for partition, next_offset in places.items():
            at = TopicPartition(topic.name, partition)
            if partition in self._unplaced and at in mine:
                self._consumer.seek(at, next_offset)
                self._consumer.resume(at)
                self._unplaced.discard(partition)
                self._places[partition] = next_offset
        log.info("places_found", topic=topic.name, partitions=len(self._places))

    async def _fitting_places(self, wanted: list[int]) -> dict[int, int]:
        """Where these partitions go on, as the database says, once it is known that their logs fit.

        Raises:
            LogDoesNotFit: one does not.
        """
        topic = self._topic
        shown = self._consumer.partitions_for_topic(topic.name)  # None while the broker does not know the topic
        count = topic.partition_count if shown is None else len(shown)
        # Before the rows are made: the database refuses one beyond the number of partitions that it knows.
        at_start = Place(topic.partition_count, topic.cluster_id, 0, 0)
        check_log_fits(topic.name, wanted[-1], at_start, Log(topic.cluster_id, count, 0, 0))
        places = await self._deliveries.places(wanted, topic.partition_count, topic.cluster_id)
        partitions = [TopicPartition(topic.name, partition) for partition in wanted]
        starts = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        for place in places:
            at = TopicPartition(topic.name, place.partition)
            known = Place(place.partition_count, place.cluster_id, place.next_offset, place.next_offset)
            check_log_fits(topic.name, place.partition, known, Log(topic.cluster_id, count, starts[at], ends[at]))
        return {place.partition: place.next_offset for place in places}

    def _wait_for_fit(self, problem: LogDoesNotFit) -> None:
        now = time.monotonic()
        if not problem.may_pass:
            raise problem
        if self._misfit_since is None:
            self._misfit_since = now
            log.warning("log_does_not_fit", problem=str(problem))
        elif now - self._misfit_since >= MISFIT_SECONDS:
            raise problem

    async def _commit_for_lag_tools(self) -> None:
        """Tell Kafka the places, which nobody reads but tools that show lag."""
        now = time.monotonic()
        if now < self._commit_at or not self._places or self._committed == self._places:
            return
        self._commit_at = now + COMMIT_SECONDS
        places = dict(self._places)
        try:
            async with asyncio.timeout(2):
                await self._consumer.commit(
                    {TopicPartition(self._topic.name, partition): offset for partition, offset in places.items()}
                )
        except (KafkaError, asyncio.TimeoutError) as error:
            log.debug("lag_not_committed", error=type(error).__name__)
        else:
            self._committed = places
