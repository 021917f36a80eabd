"""A message as a producer sends it, and the records that a fresh topic makes of messages."""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

from tests.reference.records import PARTITIONS, Record, murmur2, right_partition

__all__ = [
    "START",
    "Message",
    "as_records",
    "crc32_partition",
    "keyed",
    "moment",
    "murmur2",
    "right_partition",
    "uuid_text",
]

START = datetime(2026, 1, 1, tzinfo=UTC)


class Message(NamedTuple):
    """Ready for a producer: `await producer.send(topic, partition=…, key=…, value=…, headers=…)`."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def keyed(document: dict[str, object], headers: Sequence[tuple[str, bytes]] = ()) -> Message:
    """The message for an event: the key is its currency, the partition the right one for that key."""
    key = str(document["currency"]).encode("utf-8", "replace")
    return Message(right_partition(key), key, json.dumps(document).encode(), headers)


def crc32_partition(key: bytes, partitions: int = PARTITIONS) -> int:
    """The partition that librdkafka's default, "consistent_random", picks for a key."""
    return crc32(key) % partitions


def as_records(
    messages: Iterable[Message], start: datetime = START, step: timedelta = timedelta(milliseconds=10)
) -> Iterator[Record]:
    """Offsets without gaps from 0 in each partition, and times that grow by `step`."""
    offsets = [0] * PARTITIONS
    began_ms, step_ms = round(start.timestamp() * 1000), round(step.total_seconds() * 1000)
    for number, message in enumerate(messages):
        offset = offsets[message.partition]
        offsets[message.partition] += 1
        yield Record(message.partition, offset, began_ms + number * step_ms, message.key, message.value)


def moment(number: int, minutes: int = 0) -> str:
    """The RFC 3339 time of the event with this number."""
    at = START + timedelta(minutes=minutes, milliseconds=10 * number)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def uuid_text(rng: random.Random) -> str:
    """A UUID of version 4, from seeded bits."""
    return str(UUID(int=rng.getrandbits(128), version=4))
