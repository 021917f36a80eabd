"""A record of the log, and the partition it belongs to."""

from functools import cache
from typing import NamedTuple

from aiokafka.partitioner import murmur2 as _murmur2

PARTITIONS = 12


class Record(NamedTuple):
    """One record of `order-status`, as a consumer gets it."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


def murmur2(key: bytes) -> int:
    """The hash of the Java client's default partitioner, as an unsigned number of 32 bits."""
    return int(_murmur2(key))


@cache
def right_partition(key: bytes, partitions: int = PARTITIONS) -> int:
    """The partition that the Java client and aiokafka pick for a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
