"""Hostile and good traffic through the whole pipeline, and what must come of it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import parseaddr

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from schemas.settings import Settings
from schemas.topics import PARTITIONS, names
from storage.kafka import client_options
from tests.reference import Assignment, Model, Record, assignment_id
from tests.servers.inbox import Inbox
from tests.servers.topics import consumed
from tests.servers.wait import until
from tests.traffic import Message


async def publish(settings: Settings, messages: Sequence[Message]) -> list[RecordMetadata]:
    """Publish with a plain producer, as a stranger would."""
    producer = AIOKafkaProducer(
        **client_options(settings), enable_idempotence=True, linger_ms=5, max_request_size=1 << 21
    )
    async with producer:
        sent = [
            await producer.send(
                names(settings).orders,
                message.value,
                message.key,
                partition=message.partition,
                headers=list(message.headers),
            )
            for message in messages
        ]
        placed: list[RecordMetadata] = await asyncio.gather(*sent)
    return placed


async def read_topic(settings: Settings, topic: str, partitions: int = PARTITIONS) -> list[Record]:
    """Everything on a topic that is committed, in the order of each partition."""
    return [
        Record(record.partition, record.offset, record.timestamp, record.key, record.value)
        for record in await consumed(settings, topic, partitions)
    ]


async def expected(settings: Settings) -> Model:
    """What the reference model makes of the log."""
    model = Model()
    for record in await read_topic(settings, names(settings).orders):
        model.take(record)
    return model


def facts(assignments: Sequence[Assignment]) -> set[tuple[object, ...]]:
    """Which order got which wallet, by which event."""
    return {(a.partition, a.assigned_offset, a.currency, a.network, a.address, a.order_id) for a in assignments}


async def assert_notified_once_each(settings: Settings, model: Model) -> None:
    """Every assignment has its notification; a repeated one repeats id, key and content."""
    topic = names(settings).orders
    records = await read_topic(settings, names(settings).notifications)
    by_id: dict[str, set[tuple[bytes | None, bytes | None]]] = {}
    for record in records:
        content = orjson.loads(record.value or b"")
        by_id.setdefault(content["notification_id"], set()).add((record.key, record.value))
        assert record.key == content["order_id"].encode()
    assert {str(assignment_id(a.partition, a.assigned_offset, topic)) for a in model.assignments} == set(by_id)
    assert all(len(copies) == 1 for copies in by_id.values())


async def assert_mailed(settings: Settings, inbox: Inbox, model: Model) -> None:
    """A mail for every order that still holds its wallet, with the address of that wallet; no mail is doubled."""
    topic = names(settings).orders
    now = datetime.now(UTC)
    due = {}
    for held in model.open_assignments.values():
        order = model.orders[held.currency, held.order_id]
        if order.expires_at is not None and order.expires_at > now:
            due[str(assignment_id(held.partition, held.assigned_offset, topic))] = (order, held.address)

    async def mailed() -> Sequence[EmailMessage] | None:
        mails = await inbox.mails()
        return mails if due.keys() <= {_notification(mail) for mail in mails} else None

    mails = await until(mailed, 60, f"{len(due)} mails")
    by_notification = {_notification(mail): mail for mail in mails}
    assert len(by_notification) == len(mails), "a mail was sent twice"
    for notification, (order, address) in due.items():
        mail = by_notification[notification]
        assert parseaddr(mail["To"])[1] == order.email
        body = mail.get_body(("plain",))
        assert body is not None
        lines = [line.strip() for line in body.get_content().splitlines()]
        assert address in lines, "the address stands unbroken on a line of its own"


def _notification(mail: EmailMessage) -> str:
    return str(mail["Message-ID"]).strip("<>").partition("@")[0]
