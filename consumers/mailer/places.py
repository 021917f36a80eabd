"""Where partitions go on: in the database only, and only in the log that the database knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consumers.errors import LogDoesNotFit
from consumers.mailer.deliveries import Place
from schemas.settings import Settings
from storage.errors import TopicMissing
from storage.kafka import admin_client
from storage.topics import cluster_id

_WHAT_TO_DO = (
    "If this is the wrong Kafka or the wrong database, correct WALLETQ_KAFKA_BOOTSTRAP_SERVERS, "
    "WALLETQ_TOPIC_PREFIX or WALLETQ_DATABASE_URL; if one of them was restored or emptied, restore the other to match"
)


@dataclass(frozen=True)
class Log:
    """The topic as Kafka has it."""

    topic: str
    cluster_id: str
    partition_count: int


async def read_log(settings: Settings, topic: str) -> Log:
    """Look at the topic.

    Raises:
        ServerUnreachable: Kafka does not answer.
        TopicMissing: there is no such topic.
    """
    async with admin_client(settings) as admin:
        found = [row for row in await admin.describe_topics([topic]) if row["topic"] == topic and not row["error_code"]]
    if not found:
        raise TopicMissing(topic)
    return Log(topic, await cluster_id(settings), len(found[0]["partitions"]))


def check_log(log: Log, places: Sequence[Place]) -> None:
    """Raises LogDoesNotFit where the places are those of another Kafka, or of a topic with other partitions."""
    for place in places:
        if place.cluster_id != log.cluster_id:
            found = f"the database knows the log of the Kafka cluster {place.cluster_id}, this is {log.cluster_id}"
            raise LogDoesNotFit(log.topic, place.partition, found, _WHAT_TO_DO)
        if place.partition_count != log.partition_count:
            found = f"the topic had {place.partition_count} partitions and has {log.partition_count} now"
            raise LogDoesNotFit(log.topic, place.partition, found, _WHAT_TO_DO)


def misfit(
    log: Log, places: Sequence[Place], starts: Mapping[int, int], ends: Mapping[int, int]
) -> LogDoesNotFit | None:
    """What is wrong between the places and the offsets of the log; None where they fit.

    Args:
        log: the topic as it is now.
        places: as the database has them.
        starts: each partition's first offset that is still there.
        ends: each partition's end: the offset that the next record gets.
    """
    for place in places:
        start, end = starts[place.partition], ends[place.partition]
        if end < place.next_offset:
            found = f"the log ends at {end}, before the place in the database, {place.next_offset}"
            return LogDoesNotFit(log.topic, place.partition, found, _WHAT_TO_DO)
        if start > place.next_offset:
            found = f"the log begins at {start}, after the place in the database, {place.next_offset}"
            return LogDoesNotFit(log.topic, place.partition, found, _WHAT_TO_DO)
    return None
