"""Plain rows, as the allocator writes them."""

from datetime import UTC, datetime
from typing import Any

from consumers.allocator.state import Assignment, KeptDeadLetter, Notification, Order, Wallet
from schemas.events import event_uuid
from tests.ports.backend import TOPIC

AT = datetime(2026, 11, 22, 16, tzinfo=UTC)
POOL = ("USDT", "TRC-20")
CLUSTER = "cluster"
COUNT = 12


def waiting(order_id: str, offset: int, **fields: Any) -> Order:
    """An order that has waited since this offset."""
    order = Order(
        currency=POOL[0],
        order_id=order_id,
        status="pending",
        network=POOL[1],
        amount="10.00",
        email="ann@example.com",
        locale="en",
        expires_at=AT,
        queue_place=offset,
        pending_offset=offset,
        pending_at=AT,
    )
    for name, content in fields.items():
        setattr(order, name, content)
    return order


def holding(order_id: str, offset: int, address: str) -> Order:
    """An order that holds this wallet."""
    return waiting(order_id, offset, queue_place=None, address=address)


def free(address: str, offset: int, **fields: Any) -> Wallet:
    """A wallet that has been free since this offset."""
    wallet = Wallet(*POOL, address, "available", added_offset=offset, free_place=offset)
    for name, content in fields.items():
        setattr(wallet, name, content)
    return wallet


def occupied(address: str, offset: int, order_id: str) -> Wallet:
    """A wallet that this order has held since this offset."""
    return free(address, offset, status="occupied", free_place=None, order_id=order_id, assigned_offset=offset)


def assignment(order_id: str, address: str, offset: int, released: int | None = None) -> Assignment:
    """The assignment made at this offset."""
    return Assignment(
        assignment_id=event_uuid(TOPIC, 0, offset),
        assigned_offset=offset,
        released_offset=released,
        currency=POOL[0],
        network=POOL[1],
        address=address,
        order_id=order_id,
        waited=False,
        assigned_at=AT,
        released_at=None if released is None else AT,
    )


def notification(order_id: str, address: str, offset: int) -> Notification:
    """What is published of it."""
    return Notification(assignment(order_id, address, offset), "10.00", AT, None)


def dead_letter(offset: int) -> KeptDeadLetter:
    """The row of a refused record."""
    return KeptDeadLetter(
        offset=offset,
        reason="invalid_event",
        message="not JSON",
        record_at=AT,
        key=b"USDT",
        value=b"{",
        value_length=1,
        value_sha256="021fb596db81e6d02bf3d2586ee3981fe519f275c0ac9ca76bbcf2ebb4097d96",
        traceparent=None,
    )
