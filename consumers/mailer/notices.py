"""From records of the notification topic to deliveries and dead letters: pure decisions over plain data."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from pydantic import ValidationError

from consumers.dead_letters import DeadLetter, kept
from consumers.mailer.endings import Dossier, Ending
from schemas.events import WalletAssigned

INVALID_EVENT = "invalid_event"
UNKNOWN_ASSIGNMENT = "unknown_assignment"
MAIL_REFUSED = "mail_refused"

_LAST_MILLISECOND = 253_402_300_799_999  # the year 9999: a producer may write any number


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the notification topic."""

    partition: int
    offset: int
    timestamp: int
    "Milliseconds since 1970."
    key: bytes | None
    value: bytes | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """An assignment that the database knows."""

    currency: str
    order_id: str
    has_delivery: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """A mail that is to be sent."""

    notification_id: UUID
    partition: int
    offset: int
    currency: str
    order_id: str
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """How a batch moves its partition's place, and what it counted on the way."""

    partition: int
    start: int
    end: int
    applied: int
    no_effect: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch writes, in one transaction."""

    steps: tuple[Step, ...]
    deliveries: tuple[Delivery, ...]
    dead_letters: tuple[DeadLetter, ...]


Notice = tuple[Record, WalletAssigned | str]
"A record, and what it says or why it says nothing."


def read_notice(record: Record) -> Notice:
    """Read a record strictly."""
    if not record.value:
        return record, "the record has no value"
    try:
        return record, WalletAssigned.model_validate_json(record.value)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)[:5]
        places = (".".join(str(place) for place in problem["loc"]) for problem in problems)
        text = "; ".join(f"{at}: {p['msg']}" if at else p["msg"] for at, p in zip(places, problems, strict=True))
        return record, "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:500])


def decide(notices: Sequence[Notice], known: Mapping[UUID, Known], places: Mapping[int, int]) -> Changes:
    """What the notices of a batch change.

    Args:
        notices: in the order of their offsets within each partition.
        known: the assignments that the database has, of those that the notices name.
        places: where each partition goes on before the batch. Never a record's offset: logs have gaps.
    """
    deliveries: dict[UUID, Delivery] = {}
    dead_letters: list[DeadLetter] = []
    counts = {partition: [0, 0, 0] for partition in places}
    ends = dict(places)
    for record, said in notices:
        ends[record.partition] = record.offset + 1
        count = counts[record.partition]
        if isinstance(said, str):
            dead_letters.append(dead_letter(record, INVALID_EVENT, said))
            count[2] += 1
            continue
        assignment = known.get(said.notification_id)
        if assignment is None or (assignment.currency, assignment.order_id) != (said.currency, said.order_id):
            dead_letters.append(
                dead_letter(record, UNKNOWN_ASSIGNMENT, "the order has no such assignment in the database")
            )
            count[2] += 1
        elif assignment.has_delivery or said.notification_id in deliveries:
            count[1] += 1
        else:
            deliveries[said.notification_id] = Delivery(
                said.notification_id, record.partition, record.offset, said.currency, said.order_id, record.traceparent
            )
            count[0] += 1
    steps = tuple(
        Step(partition, start, ends[partition], *counts[partition]) for partition, start in sorted(places.items())
    )
    return Changes(steps, tuple(deliveries.values()), tuple(dead_letters))


def dead_letter(record: Record, reason: str, message: str) -> DeadLetter:
    """The dead letter of a record: its key and value up to 256 KiB each; of a larger value its length and digest."""
    value = record.value
    return DeadLetter(
        partition=record.partition,
        offset=record.offset,
        reason=reason,
        message=message,
        record_at=datetime.fromtimestamp(min(max(record.timestamp, 0), _LAST_MILLISECOND) / 1000, UTC),
        key=kept(record.key),
        value=kept(value),
        value_length=None if value is None else len(value),
        value_sha256=None if value is None else hashlib.sha256(value).hexdigest(),
        traceparent=record.traceparent,
    )


def mail_refused(dossier: Dossier, ending: Ending) -> DeadLetter | None:
    """The dead letter of a notification whose mail failed; its bytes are written anew. None where it did not fail, or
    has no notification."""
    if ending.state != "failed" or dossier.kind != "assigned":
        return None
    assert dossier.network is not None
    assert dossier.address is not None
    assert dossier.amount is not None
    assert dossier.waited is not None
    assert dossier.assigned_at is not None
    assert dossier.expires_at is not None
    # Not validated: what is odd about the order may be why its mail failed.
    value = WalletAssigned.model_construct(
        type="wallet_assigned",
        notification_id=dossier.notification_id,
        order_id=dossier.order_id,
        currency=dossier.currency,
        network=dossier.network,
        address=dossier.address,
        amount=dossier.amount,
        waited=dossier.waited,
        assigned_at=dossier.assigned_at,
        expires_at=dossier.expires_at,
    )
    record = Record(
        dossier.partition,
        dossier.offset,
        round(dossier.assigned_at.timestamp() * 1000),
        dossier.order_id.encode(),
        value.model_dump_json().encode(),
        dossier.traceparent,
    )
    return dead_letter(record, MAIL_REFUSED, ending.outcome or "")
