"""What the passing of time makes of orders and wallets, as events."""

from collections.abc import Iterable
from uuid import NAMESPACE_URL, uuid5

import asyncpg

from schemas.events import PAYMENT_TIMEOUT, Event, OrderStatusChanged, WalletCooled

REPEAT_SECONDS = 60.0
"An event that has not been applied after so long is published again."


class Recently:
    """The events published a short time ago which the allocator has not applied yet."""

    def __init__(self, repeat_seconds: float = REPEAT_SECONDS) -> None:
        self._repeat_seconds = repeat_seconds
        self._published_at: dict[str, float] = {}

    def without(self, events: Iterable[Event], now: float) -> list[Event]:
        """Those of the events that are due; forgets what is no longer among them, since that is applied."""
        by_id = {str(event.event_id): event for event in events}
        self._published_at = {
            key: at for key, at in self._published_at.items() if key in by_id and now - at < self._repeat_seconds
        }
        return [event for key, event in by_id.items() if key not in self._published_at]

    def add(self, events: Iterable[Event], now: float) -> None:
        """These were published now."""
        self._published_at |= {str(event.event_id): now for event in events}


def payment_timeout(order: asyncpg.Record) -> OrderStatusChanged:
    """The event for an expired order (currency, order_id, expires_at): the same one from every clock."""
    place = f"{order['currency']}/{order['order_id']}/{order['expires_at'].isoformat()}"
    return OrderStatusChanged(
        type="order_status_changed",
        event_id=str(uuid5(NAMESPACE_URL, f"walletq:{PAYMENT_TIMEOUT}/{place}")),
        order_id=order["order_id"],
        currency=order["currency"],
        status="cancelled",
        reason=PAYMENT_TIMEOUT,
        actor="clock",
        occurred_at=order["expires_at"],
    )


def wallet_cooled(wallet: asyncpg.Record) -> WalletCooled:
    """The event for a wallet whose cooling is over (currency, network, address, cooling_assignment_id,
    cooling_until): the same one from every clock."""
    return WalletCooled(
        type="wallet_cooled",
        event_id=str(uuid5(NAMESPACE_URL, f"walletq:wallet_cooled/{wallet['cooling_assignment_id']}")),
        currency=wallet["currency"],
        network=wallet["network"],
        address=wallet["address"],
        assignment_id=wallet["cooling_assignment_id"],
        occurred_at=wallet["cooling_until"],
    )
