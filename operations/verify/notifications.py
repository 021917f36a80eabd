"""I7 and I8 on the notification topic, which is read once for both."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from aiokafka import ConsumerRecord
from aiokafka.partitioner import DefaultPartitioner
from pydantic import ValidationError

from operations.kafka_log import KafkaLog
from operations.verify.finding import Finding, Offenders, found
from operations.verify.offsets import OffsetSet
from operations.verify.snapshot import Snapshot
from schemas.events import WalletAssigned
from schemas.topics import Names
from storage.sql import read_queries

SQL = read_queries("verify")
PREFETCH = 1_000
CHUNK = 2_000

_SAME = ("order_id", "currency", "network", "address", "amount", "waited", "assigned_at", "expires_at")


@dataclass
class Seen:
    """What the topic has shown."""

    records: int = 0
    duplicates: int = 0
    notified: dict[int, OffsetSet] = field(default_factory=lambda: defaultdict(OffsetSet))
    "By partition of the orders' topic: the offsets of the assignments that have a notification."
    kept_since: dict[int, datetime] = field(default_factory=dict)
    "By partition of the notifications' topic, where the first records are gone: when the first that is left came."
    wrong: Offenders = field(default_factory=Offenders)
    undelivered: Offenders = field(default_factory=Offenders)
    foreign: int = 0
    "Records that are no notifications, and are known as such: the mailer has refused them, or not come to them yet."
    not_reached: int = 0
    "Notifications that the mailer has not come to yet."


async def check_notifications(snapshot: Snapshot, log: KafkaLog, names: Names) -> list[Finding]:
    """I7: assignments have their notifications, and these say what the database says. I8: they have deliveries."""
    seen = await read_notifications(snapshot, log, names)
    missing, assignments = await _missing(snapshot, log, names, seen)
    over = f"{seen.records:,} notifications, {seen.duplicates:,} of them duplicates"
    foreign = f"{seen.foreign:,} records are something else" if seen.foreign else None
    note = f"{len(seen.kept_since)} partitions have lost their first records" if seen.kept_since else None
    return [
        found("I7", "every published assignment has its notification", f"{assignments:,} assignments", missing, note),
        found("I7", "notifications say what the database says", over, seen.wrong.named, foreign),
        _deliveries(snapshot, names.notifications, seen),
    ]


async def read_notifications(snapshot: Snapshot, log: KafkaLog, names: Names) -> Seen:
    """Everything on the topic, compared with the database."""
    topic = names.notifications
    begins, ends = await log.beginnings(topic), await log.ends(topic)
    seen = Seen()
    async for batch in log.read(topic, begins, ends):
        number = batch[0].partition
        if begins[number] > 0:
            seen.kept_since.setdefault(number, datetime.fromtimestamp(batch[0].timestamp / 1000, UTC))
        for start in range(0, len(batch), CHUNK):
            await _compare(snapshot, topic, batch[start : start + CHUNK], seen)
    for number in begins:
        if 0 < begins[number] == ends[number]:  # all that there was is gone
            seen.kept_since[number] = datetime.max.replace(tzinfo=UTC)
    return seen


async def _compare(snapshot: Snapshot, topic: str, batch: Sequence[ConsumerRecord], seen: Seen) -> None:
    seen.records += len(batch)
    told: list[tuple[ConsumerRecord, WalletAssigned]] = []
    foreign: list[ConsumerRecord] = []
    for record in batch:
        try:
            told.append((record, WalletAssigned.model_validate_json(record.value or b"")))
        except ValidationError:
            foreign.append(record)
    for record in await _not_refused(snapshot, topic, [record for record in foreign if _passed(snapshot, record)]):
        seen.wrong.add(f"{_place(record)}: not a notification, and the mailer has not refused it")
    seen.foreign += len(foreign)
    currencies = [notification.currency for _, notification in told]
    orders = [notification.order_id for _, notification in told]
    assignments = await snapshot.now.fetch(SQL["assignments_of"], currencies, orders)
    rows = {row["assignment_id"]: row for row in assignments}
    for record, notification in told:
        row = rows.get(notification.notification_id)
        if row is None:
            order = f"order {notification.order_id} ({notification.currency})"
            seen.wrong.add(f"{_place(record)}: {order} has no assignment {notification.notification_id}")
            continue
        if differing := differences(record.key, notification, row):
            seen.wrong.add(f"{_place(record)}: {', '.join(differing)} differ from the assignment at {_source(row)}")
        seen.duplicates += row["assigned_offset"] in seen.notified[row["partition"]]
        seen.notified[row["partition"]].add(row["assigned_offset"])
    await _find_deliveries(snapshot, topic, told, seen)


def differences(key: bytes | None, notification: WalletAssigned, row: asyncpg.Record) -> list[str]:
    """The names of what the notification says otherwise than its assignment's row."""
    differing = [name for name in _SAME if getattr(notification, name) != row[name]]
    return differing if key == row["order_id"].encode() else ["key", *differing]


async def _find_deliveries(
    snapshot: Snapshot, topic: str, told: Sequence[tuple[ConsumerRecord, WalletAssigned]], seen: Seen
) -> None:
    """What the mailer has passed has a delivery, or was refused and is a dead letter."""
    passed: dict[UUID, ConsumerRecord] = {}
    for record, notification in told:
        if _passed(snapshot, record):
            passed[notification.notification_id] = record
        else:
            seen.not_reached += 1
    for row in await snapshot.now.fetch(SQL["delivered"], list(passed)):
        passed.pop(row["notification_id"])
    for record in await _not_refused(snapshot, topic, list(passed.values())):
        seen.undelivered.add(f"{_place(record)}: the notification has no delivery")


def _passed(snapshot: Snapshot, record: ConsumerRecord) -> bool:
    """Whether the mailer's place is behind the record."""
    return bool(record.offset < snapshot.place(record.topic, record.partition))


async def _not_refused(snapshot: Snapshot, topic: str, records: Sequence[ConsumerRecord]) -> list[ConsumerRecord]:
    """Those of the records that are no dead letters."""
    if not records:
        return []
    partitions, offsets = [record.partition for record in records], [record.offset for record in records]
    refused = await snapshot.now.fetch(SQL["dead_letters_at"], [topic] * len(records), partitions, offsets)
    places = {(row["partition"], row["offset"]) for row in refused}
    return [record for record in records if (record.partition, record.offset) not in places]


async def _missing(snapshot: Snapshot, log: KafkaLog, names: Names, seen: Seen) -> tuple[list[str], int]:
    """Assignments that must have a notification and have none, and how many must."""
    offenders, assignments = Offenders(), 0
    partitioner = DefaultPartitioner()
    numbers = list(range(log.partitions[names.notifications]))
    async for row in snapshot.connection.cursor(SQL["published_assignments"], names.orders, prefetch=PREFETCH):
        assignments += 1
        if row["assigned_offset"] in seen.notified[row["partition"]]:
            continue
        kept_since = seen.kept_since.get(partitioner(row["order_id"].encode(), numbers, numbers))
        if kept_since is None or row["assigned_at"] > kept_since:
            offenders.add(f"order {row['order_id']} ({row['currency']}): assigned at {_source(row)}, not notified")
    return offenders.named, assignments


def _deliveries(snapshot: Snapshot, topic: str, seen: Seen) -> Finding:
    promise, over = (
        "every notification has a delivery",
        f"{seen.records - seen.foreign - seen.not_reached:,} notifications",
    )
    if not snapshot.consumed(topic):
        return Finding("I8", promise, over, "not checked", note=f"no mailer has run; {seen.not_reached:,} are waiting")
    note = f"the mailer has not come to {seen.not_reached:,} others yet" if seen.not_reached else None
    return found("I8", promise, over, seen.undelivered.named, note)


def _place(record: ConsumerRecord) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


def _source(row: asyncpg.Record) -> str:
    return f"{row['partition']}/{row['assigned_offset']}"
