"""I6 on the dead letter topics: every refused record is there, with the bytes that it had."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
from aiokafka import ConsumerRecord

from operations.kafka_log import KafkaLog
from operations.verify.finding import SHOWN, Finding, Offenders, found
from operations.verify.offsets import OffsetSet
from operations.verify.snapshot import Snapshot
from schemas.topics import (
    HEADER_LENGTH,
    HEADER_MESSAGE,
    HEADER_OFFSET,
    HEADER_PARTITION,
    HEADER_REASON,
    HEADER_SHA256,
    HEADER_TOPIC,
    Names,
)
from storage.sql import read_queries

SQL = read_queries("verify")
PREFETCH = 100
CHUNK = 100
"So few, since each may hold 256 KiB."

Place = tuple[str, int, int]


async def check_dead_letters(snapshot: Snapshot, log: KafkaLog, names: Names) -> list[Finding]:
    """The rows agree with the counters, and the topics with the rows."""
    rows = await snapshot.connection.fetch(SQL["miscounted_dead_letters"], SHOWN + 1, names.orders)
    counted = sum(row["dead_letters"] for (topic, _), row in snapshot.places.items() if topic == names.orders)
    miscounted = [row["offender"] for row in rows]
    return [
        found("I6", "dead letters are kept as counted", f"{counted:,} dead letters", miscounted),
        await _check_topic(snapshot, log, names.orders, watermark=True),
        await _check_topic(snapshot, log, names.notifications, watermark=False),
    ]


async def _check_topic(snapshot: Snapshot, log: KafkaLog, source: str, *, watermark: bool) -> Finding:
    topic = Names.dead_letters(source)
    begins, ends = await log.beginnings(topic), await log.ends(topic)
    offenders, published, kept_since, kept = Offenders(), defaultdict[int, OffsetSet](OffsetSet), None, 0
    async for batch in log.read(topic, begins, ends):
        if kept_since is None and any(begins.values()):
            kept_since = datetime.fromtimestamp(batch[0].timestamp / 1000, UTC)
        for start in range(0, len(batch), CHUNK):
            await _compare(snapshot, source, batch[start : start + CHUNK], published, offenders)
    if kept_since is None and any(begins.values()):  # all that there was is gone
        kept_since = datetime.max.replace(tzinfo=UTC)
    async for row in snapshot.connection.cursor(SQL["published_dead_letters"], source, watermark, prefetch=PREFETCH):
        kept += 1
        on_topic = row["offset"] in published[row["partition"]]
        if not on_topic and (kept_since is None or row["record_at"] > kept_since):
            offenders.add(f"{source}/{row['partition']}/{row['offset']} ({row['reason']}): not on {topic}")
    return found("I6", f"{topic} has every refused record as it was", f"{kept:,} dead letters", offenders.named)


async def _compare(
    snapshot: Snapshot,
    source: str,
    batch: Sequence[ConsumerRecord],
    published: dict[int, OffsetSet],
    offenders: Offenders,
) -> None:
    came_from = [(place_of(record), record) for record in batch]
    wanted = [place for place, _ in came_from if place is not None]
    rows = await snapshot.now.fetch(SQL["dead_letters_at"], *map(list, zip(*wanted, strict=True))) if wanted else []
    by_place = {(row["topic"], row["partition"], row["offset"]): row for row in rows}
    for place, record in came_from:
        here = f"{record.topic}/{record.partition}/{record.offset}"
        row = by_place.get(place) if place and place[0] == source else None
        if place is None or row is None:
            offenders.add(f"{here}: no refused record of the database")
            continue
        if differing := differences(record, row):
            offenders.add(f"{here}: {', '.join(differing)} differ from those of {'/'.join(map(str, place))}")
        published[place[1]].add(place[2])


def place_of(record: ConsumerRecord) -> Place | None:
    """Where a dead letter came from, by its headers; None where they do not say."""
    headers = dict(record.headers)
    try:
        topic = headers[HEADER_TOPIC].decode()
        partition, offset = int(headers[HEADER_PARTITION]), int(headers[HEADER_OFFSET])
    except (KeyError, ValueError, AttributeError, TypeError):
        return None
    return (topic, partition, offset) if 0 <= partition < 2**31 and 0 <= offset < 2**63 else None


def differences(record: ConsumerRecord, row: asyncpg.Record) -> list[str]:
    """The names of what the dead letter has otherwise than the row."""
    headers = dict(record.headers)
    wanted = {HEADER_REASON: row["reason"].encode(), HEADER_MESSAGE: row["message"].encode()}
    if row["value"] is None and row["value_length"] is not None:  # too large to keep
        wanted |= {HEADER_LENGTH: str(row["value_length"]).encode(), HEADER_SHA256: row["value_sha256"].encode()}
    differing = [name for name, content in wanted.items() if headers.get(name) != content]
    return [
        *(["key"] if record.key != row["key"] else []),
        *(["value"] if record.value != row["value"] else []),
        *differing,
    ]
