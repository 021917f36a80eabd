"""What the parts of a process say of themselves at one moment: plain data."""

from typing import NamedTuple


class PartitionSample(NamedTuple):
    """A partition that the process owns."""

    topic: str
    partition: int
    step: str
    "What its owner is doing."
    next_offset: int | None
    "The first record that is not applied; None while the owner has no place."
    published_offset: int | None = None
    "Below it everything is published; None where nothing is to be."
    in_hand: int = 0
    "Records that are fetched and not applied."
    error: str | None = None
    "Why the owner's last attempt came to nothing; it tries again."


class MailSample(NamedTuple):
    """The sending side of a mailer."""

    turns: int
    "A number that grows while it works, also where there is nothing to send."
    in_flight: int
    lease_seconds: float
    "Within which the outcome of what is in flight is known."
    refusals: int
    "How often the mail server has refused us since it last took a mail."
    probe_in: float
    "Seconds until it is asked again."
    silent_seconds: float | None
    "For how long every attempt has met silence; None where the server answers, or nobody has asked."
    error: str | None = None
    "Why the last claim, or settling, came to nothing; it is tried again."


class ClockSample(NamedTuple):
    """A clock."""

    looks: int
    "How often it has looked at what has expired."
    interval_seconds: float


class Sample(NamedTuple):
    """Everything that a process does."""

    partitions: tuple[PartitionSample, ...] = ()
    mail: MailSample | None = None
    clock: ClockSample | None = None


class End(NamedTuple):
    """What Kafka says of a partition."""

    end_offset: int
    "Behind its last committed record, or marker of a transaction."
    position: int
    "Where the consumer goes on: at the end, nothing is left to fetch, whatever the place says."


class Answer(NamedTuple):
    """How a server has answered when it was asked last."""

    error: str | None
    "None: it answered."
    since: float
    "It has been so since then (monotonic seconds)."
