"""From samples to histories: since when something has not moved. Pure: the same samples give the same history."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from monitoring.samples import Answer, ClockSample, End, MailSample, PartitionSample, Sample

PartitionKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition with its history. Times are monotonic seconds."""

    sample: PartitionSample
    end: End | None
    "None: Kafka has not told of it yet."
    moved_at: float
    "When the place last moved, or there was last nothing to do."
    published_at: float
    "When the watermark last moved, or there was last nothing to publish."

    @property
    def lag(self) -> int | None:
        """Records, and markers of transactions, that are not applied; None where that is not known."""
        place = self.sample.next_offset
        return None if self.end is None or place is None else max(0, self.end.end_offset - place)

    @property
    def has_work(self) -> bool:
        """Whether there is something to do: a place to take, or records, not only markers, before the end."""
        place = self.sample.next_offset
        return place is None or self.sample.in_hand > 0 or (bool(self.lag) and not self._all_fetched)

    @property
    def has_unpublished(self) -> bool:
        """Whether there is something to publish."""
        published, place = self.sample.published_offset, self.sample.next_offset
        return published is not None and place is not None and published < place

    @property
    def _all_fetched(self) -> bool:
        return self.end is not None and self.end.position >= self.end.end_offset


@dataclass(frozen=True, slots=True)
class History:
    """A process, as it is at `at` (monotonic seconds), and since when."""

    at: float
    partitions: tuple[Partition, ...] = ()
    mail: MailSample | None = None
    mail_turned_at: float = 0.0
    clock: ClockSample | None = None
    clock_looked_at: float = 0.0
    servers: Mapping[str, Answer | None] = field(default_factory=dict)
    "By name; None: not asked yet."
    oldest_due_seconds: float | None = None
    "Of the deliveries, for a mailer; below 0 or None: none is due."


def follow(
    before: History,
    sample: Sample,
    now: float,
    *,
    ends: Mapping[PartitionKey, End],
    servers: Mapping[str, Answer | None],
    oldest_due_seconds: float | None = None,
) -> History:
    """The history with one more sample."""
    known = {(one.sample.topic, one.sample.partition): one for one in before.partitions}
    turned = sample.mail is None or before.mail is None or sample.mail.turns != before.mail.turns
    looked = sample.clock is None or before.clock is None or sample.clock.looks != before.clock.looks
    return History(
        at=now,
        partitions=tuple(
            _moved(known.get((one.topic, one.partition)), one, ends.get((one.topic, one.partition)), now)
            for one in sample.partitions
        ),
        mail=sample.mail,
        mail_turned_at=now if turned else before.mail_turned_at,
        clock=sample.clock,
        clock_looked_at=now if looked else before.clock_looked_at,
        servers=dict(servers),
        oldest_due_seconds=oldest_due_seconds,
    )


def _moved(before: Partition | None, sample: PartitionSample, end: End | None, now: float) -> Partition:
    fresh = Partition(sample, end, moved_at=now, published_at=now)
    if before is None:
        return fresh
    stands = fresh.has_work and sample.next_offset == before.sample.next_offset
    waits = fresh.has_unpublished and sample.published_offset == before.sample.published_offset
    return Partition(
        sample,
        end,
        moved_at=before.moved_at if stands else now,
        published_at=before.published_at if waits and before.has_unpublished else now,
    )


def answered(before: Answer | None, error: str | None, now: float) -> Answer:
    """The server has answered now, or not; what it said before tells since when."""
    if before is not None and (before.error is None) == (error is None):
        return Answer(error, before.since)
    return Answer(error, now)
