"""Places: how far a partition is consumed, kept in the database and checked against the log."""

from typing import NamedTuple

from consumers.errors import LogDoesNotFit

RESTORE = (
    "Restore the database and Kafka from the same moment, or point walletq at the pair that belongs together "
    "(WALLETQ_DATABASE_URL, WALLETQ_KAFKA_BOOTSTRAP_SERVERS, WALLETQ_TOPIC_PREFIX)."
)


class Place(NamedTuple):
    """A partition's row: the owner's place, the outbox's watermark, and which log they belong to."""

    partition_count: int
    cluster_id: str
    next_offset: int
    published_offset: int
    catalogue: str | None = None
    "The SHA-256 of the catalogue that decided last."


class Log(NamedTuple):
    """What Kafka says of a partition: its first offset, and the one behind its last committed record."""

    cluster_id: str
    partition_count: int
    start: int
    end: int


def check_log_fits(topic: str, partition: int, place: Place, log: Log) -> None:
    """Raises LogDoesNotFit where the place cannot be one in this log."""

    def refuse(found: str, advice: str = RESTORE, *, may_pass: bool = False) -> None:
        raise LogDoesNotFit(topic, partition, found, advice, may_pass)

    if place.cluster_id != log.cluster_id:
        refuse(f"the database belongs to the Kafka cluster {place.cluster_id}, this one is {log.cluster_id}")
    if place.partition_count != log.partition_count:
        refuse(
            f"the topic has {log.partition_count} partitions, and had {place.partition_count} at first",
            "The number is fixed for ever: more partitions move keys and split a queue. "
            "Make the topic anew with the old number, under another WALLETQ_TOPIC_PREFIX and with an empty database "
            "(WALLETQ_DATABASE_URL), and copy the records: the old database knows the places of the old topic.",
            may_pass=True,
        )
    if log.end < place.next_offset:
        refuse(
            f"the log ends at offset {log.end}, but the database has applied it up to {place.next_offset}: "
            "records are missing from the log",
            may_pass=True,
        )
    if log.start > place.next_offset:
        refuse(
            f"the log starts at offset {log.start}, but the database has applied it only up to {place.next_offset}: "
            "records were deleted before they were applied"
        )
