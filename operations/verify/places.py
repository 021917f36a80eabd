"""The places in the log: whether they fit it, I6 by counting its records, and I10."""

from collections import Counter

from operations.kafka_log import KafkaLog
from operations.verify.finding import Finding, Offenders, found
from operations.verify.snapshot import Snapshot
from schemas.topics import Names
from storage.sql import read_queries

SQL = read_queries("verify")


async def check_fit(snapshot: Snapshot, log: KafkaLog, names: Names) -> Finding:
    """Whether the places mean anything in this Kafka: the checks of the topics rely on it."""
    offenders = Offenders()
    for topic in (names.orders, names.notifications):
        ends, beginnings = await log.ends(topic), await log.beginnings(topic)
        for (consumed, number), row in snapshot.places.items():
            where, place = f"{topic}/{number}", row["next_offset"]
            if consumed != topic:
                continue
            if row["cluster_id"] != log.cluster_id:
                offenders.add(f"{where}: belongs to the Kafka {row['cluster_id']}, this one is {log.cluster_id}")
            if row["partition_count"] != log.partitions[topic]:
                offenders.add(f"{where}: of {row['partition_count']} partitions; there are {log.partitions[topic]}")
            if number not in ends:
                offenders.add(f"{where}: there is no such partition")
            elif not beginnings[number] <= place <= ends[number]:
                offenders.add(
                    f"{where}: the place is {place}, the log goes from {beginnings[number]} to {ends[number]}"
                )
    return found("log", "the places belong to this log", f"{len(snapshot.places)} partitions", offenders.named)


async def check_counts(snapshot: Snapshot, log: KafkaLog, names: Names) -> Finding:
    """I6: as many records below each place as were applied, had no effect, or were refused."""
    topic = names.orders
    begins = await log.beginnings(topic)
    wanted = {number: snapshot.place(topic, number) for number, first in begins.items() if first == 0}
    records: Counter[int] = Counter()
    async for batch in log.read(topic, begins, wanted):
        records[batch[0].partition] += len(batch)
    offenders = Offenders()
    for number in wanted:
        counted = sum(snapshot.place(topic, number, column) for column in ("applied", "no_effect", "dead_letters"))
        if counted != records[number]:
            offenders.add(f"{topic}/{number}: {records[number]} records, {counted} outcomes")
    gone = len(begins) - len(wanted)
    return found(
        "I6",
        "every record was applied, had no effect, or is a dead letter",
        f"{sum(records.values()):,} records",
        offenders.named,
        note=f"{gone} partitions left out, whose first records are gone" if gone else None,
    )


async def check_drained(snapshot: Snapshot, log: KafkaLog, names: Names, *, required: bool) -> Finding:
    """I10: nothing is left to apply, to publish or to deliver; noted only, where it is not required."""
    behind = Offenders()
    for topic in (names.orders, names.notifications):
        if topic == names.notifications and not snapshot.consumed(topic):
            continue
        for number in await lagging(snapshot, log, topic):
            behind.add(f"{topic}/{number}: records from {snapshot.place(topic, number)} on are not consumed yet")
    for (topic, number), row in snapshot.places.items():
        if row["unpublished"]:
            behind.add(f"{topic}/{number}: {row['unpublished']} messages are not acknowledged yet")
    overdue = await snapshot.connection.fetchrow(SQL["overdue_deliveries"])
    if overdue["deliveries"]:
        behind.add(
            f"{overdue['deliveries']:,} mails are overdue, the first since {overdue['since']:%Y-%m-%d %H:%M:%S} UTC"
        )
    finding = found("I10", "everything is drained", f"{len(snapshot.places)} partitions", behind.named)
    if behind.named and not required:
        return Finding("I10", finding.promise, finding.over, "noted", finding.offenders, more=finding.more)
    return finding


async def lagging(snapshot: Snapshot, log: KafkaLog, topic: str) -> list[int]:
    """The partitions with a record at or behind their place. Markers of transactions are none."""
    begins, ends = await log.beginnings(topic), await log.ends(topic)
    places = {number: max(first, snapshot.place(topic, number)) for number, first in begins.items()}
    found_at: set[int] = set()
    async for batch in log.read(topic, places, ends):
        found_at.add(batch[0].partition)
        if len(found_at) == sum(places[number] < end for number, end in ends.items()):
            break
    return sorted(found_at)
