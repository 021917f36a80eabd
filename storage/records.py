"""Reading records whose headers are not as Kafka's protocol has them.

The name of a header is UTF-8 by the protocol, but the broker does not look. The Java client replaces what is not;
aiokafka 0.14 fails, at this record, for ever: a single one would stop its partition.
"""

from collections.abc import Iterator
from itertools import islice
from struct import unpack_from
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

_LENGTH_AT, _BEFORE_LENGTH_COUNTS = 8, 12


def take_any_header() -> None:
    """Let all consumers of this process read such records; it can be said more than once."""
    fetcher.MemoryRecords = _AnyRecords


class _Record(NamedTuple):
    """What aiokafka's consumer uses of a record."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class _AnyRecords:
    """aiokafka's MemoryRecords, with the bytes of each batch at hand."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._records = MemoryRecords(data)
        self._position = 0

    def size_in_bytes(self) -> int:
        """See MemoryRecords."""
        return len(self._data)

    def has_next(self) -> bool:
        """See MemoryRecords."""
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        """See MemoryRecords."""
        batch = self._records.next_batch()
        if batch is None:
            return None
        start = self._position
        (length,) = unpack_from(">i", self._data, start + _LENGTH_AT)
        self._position = start + _BEFORE_LENGTH_COUNTS + length
        return batch if batch.is_control_batch else _Batch(batch, self._data, start, self._position)


class _Batch:
    """aiokafka's batch, whose records are read again, patiently, where it fails."""

    def __init__(self, batch: Any, data: bytes, start: int, end: int) -> None:
        self._batch = batch
        self._data = data
        self._start = start
        self._end = end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                yield record
                read += 1
        except UnicodeDecodeError:
            yield from islice(_patiently(self._data[self._start : self._end]), read, None)


def _patiently(data: bytes) -> Iterator[_Record]:
    """The records of a batch (https://kafka.apache.org/documentation/#recordbatch)."""
    batch = _DefaultRecordBatchPy(data)
    iter(batch)  # unpacks it
    buffer, position = batch._buffer, batch._pos  # noqa: SLF001 - the library's own reader goes no further

    def number() -> int:
        nonlocal position
        value, position = decode_varint(buffer, position)
        return int(value)

    def text() -> bytes | None:
        nonlocal position
        if (length := number()) < 0:
            return None
        position += length
        return bytes(buffer[position - length : position])

    by_broker = batch.timestamp_type == batch.LOG_APPEND_TIME
    for _ in range(batch._num_records):  # noqa: SLF001
        number()  # the record's length
        position += 1  # its attributes, of which there are none
        timestamp = number() + batch.first_timestamp
        offset = number() + batch.base_offset
        key, value = text(), text()
        headers = [((text() or b"").decode(errors="replace"), text()) for _ in range(number())]
        yield _Record(
            offset, batch.max_timestamp if by_broker else timestamp, batch.timestamp_type, key, value, headers
        )
