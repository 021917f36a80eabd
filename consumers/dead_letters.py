"""A dead letter as its row has it, and its headers: why a record was refused, and where it came from."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from consumers.messages import Headers, Message
from schemas.topics import (
    HEADER_LENGTH,
    HEADER_MESSAGE,
    HEADER_OFFSET,
    HEADER_PARTITION,
    HEADER_REASON,
    HEADER_SHA256,
    HEADER_TIMESTAMP,
    HEADER_TOPIC,
    MAX_KEPT_BYTES,
    Names,
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was refused, or a notification whose mail was; key and value are None where too large to keep."""

    partition: int
    offset: int
    reason: str
    message: str
    record_at: datetime
    key: bytes | None
    value: bytes | None
    value_length: int | None
    value_sha256: str | None
    traceparent: str | None


class Letter(Protocol):
    """What a dead letter says of its record."""

    @property
    def offset(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def record_at(self) -> datetime: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def value_length(self) -> int | None: ...
    @property
    def value_sha256(self) -> str | None: ...
    @property
    def traceparent(self) -> str | None: ...


def kept(content: bytes | None) -> bytes | None:
    """A record's key or value, where it is small enough to go along: the dead letter has to fit into a batch, too."""
    return content if len(content or b"") <= MAX_KEPT_BYTES else None


def dead_letter_headers(topic: str, partition: int, letter: Letter) -> Headers:
    """All as text; the time in milliseconds since 1970. Length and digest where the value is too large to go along."""
    rows = [
        (HEADER_REASON, letter.reason),
        (HEADER_MESSAGE, letter.message),
        (HEADER_TOPIC, topic),
        (HEADER_PARTITION, str(partition)),
        (HEADER_OFFSET, str(letter.offset)),
        (HEADER_TIMESTAMP, str(round(letter.record_at.timestamp() * 1000))),
    ]
    if letter.value is None and letter.value_length is not None:
        rows += [(HEADER_LENGTH, str(letter.value_length)), (HEADER_SHA256, letter.value_sha256 or "")]
    if letter.traceparent is not None:
        rows.append(("traceparent", letter.traceparent))
    return [(name, text.encode()) for name, text in rows]


def dead_letter_message(topic: str, partition: int, letter: Letter) -> Message:
    """A refused record: its own key and bytes, with why it was refused and where it came from as headers."""
    return Message(Names.dead_letters(topic), letter.key, letter.value, dead_letter_headers(topic, partition, letter))
