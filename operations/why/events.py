"""What the log says of an order: a few records, at the offsets that the rows name."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from operations.kafka_log import open_log
from operations.why.facts import Facts
from schemas.events import Event, InvalidEvent, OrderStatusChanged, parse_event
from schemas.settings import Settings, SettingsError
from schemas.topics import HEADER_REPLAY_BY, HEADER_REPLAY_OF
from storage.errors import WalletqError

FETCH_BYTES = 64 * 1024
SECONDS = 20.0


@dataclass(frozen=True)
class Said:
    """A record of the log: when it came, who sent it and what it is."""

    at: datetime
    event_id: str | None = None
    actor: str | None = None
    order_id: str | None = None
    "Of whichever order it is."
    status: str | None = None
    reason: str | None = None
    type: str | None = None
    replay_of: str | None = None
    "The dead letter that it was replayed from."
    replay_by: str | None = None


@dataclass(frozen=True)
class Heard:
    """What the log said, and what it could not tell."""

    said: Mapping[int, Said] = field(default_factory=dict)
    "By offset."
    not_applied: int | None = None
    "Records behind the place; None: nobody knows."
    notes: Sequence[str] = ()


async def read_events(settings: Settings, facts: Facts) -> Heard:
    """The records at the facts' offsets, those that are kept. Where Kafka is away, a note says so."""
    try:
        async with asyncio.timeout(SECONDS), open_log(settings, fetch_bytes=FETCH_BYTES) as log:
            if facts.cluster_id not in (None, log.cluster_id):
                return Heard(notes=[f"the log here is of another Kafka ({log.cluster_id}) than the database: not read"])
            end = (await log.ends(facts.topic))[facts.partition]
            records = await log.at(facts.topic, facts.partition, facts.offsets)
    except (WalletqError, SettingsError, KafkaError, OSError, asyncio.TimeoutError) as error:
        why = str(error).rstrip(".") or "it does not answer"
        return Heard(notes=[f"{why}. So who sent the events, and when an order was paid, is not told here"])
    missing = len(facts.offsets) - len(records)
    gone = [f"{missing} of its events are no longer in the log"] if missing else []
    said = {offset: read_said(record) for offset, record in records.items()}
    return Heard(said, max(0, end - facts.next_offset), gone)


def read_said(record: ConsumerRecord) -> Said:
    """A record as the story has it; one that is no event has nothing but its time."""
    at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    headers = {name: (content or b"").decode(errors="replace") for name, content in record.headers}
    try:
        event: Event = parse_event(record.value).event
    except InvalidEvent:
        return Said(at)
    replay = {"replay_of": headers.get(HEADER_REPLAY_OF), "replay_by": headers.get(HEADER_REPLAY_BY)}
    if isinstance(event, OrderStatusChanged):
        order = {"order_id": event.order_id, "status": event.status, "reason": event.reason}
        return Said(at, event.event_id, event.actor, type=event.type, **order, **replay)
    return Said(at, event.event_id, getattr(event, "actor", None), type=event.type, **replay)
