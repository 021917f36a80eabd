"""The rules, one event and one transaction at a time."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from asyncpg import Connection, Pool

from schemas.catalogue import Catalogue
from schemas.events import PAYMENT_TIMEOUT, Event, OrderStatusChanged, WalletAdded, WalletAssigned, WalletRetired
from storage.sql import read_queries

SQL = read_queries("queries", Path(__file__).parent)


class Wallet(NamedTuple):
    """A wallet's name."""

    currency: str
    network: str
    address: str


class AlreadyHandled(Exception):
    """The event was delivered before: its transaction is rolled back."""


class Allocation:
    """Applies events; one that is delivered again has no effect."""

    def __init__(self, pool: Pool, catalogue: Catalogue) -> None:
        self._pool = pool
        self._catalogue = catalogue

    async def handle(self, event: Event, at: datetime) -> None:
        """Commit what an event of this time changes, and the notification that it leads to."""
        async with self._pool.acquire() as connection:
            match event:
                case OrderStatusChanged(status="paid" | "processing"):
                    # A single statement is a transaction.
                    await connection.execute(SQL["advance_order"], event.currency, event.order_id, event.status)
                    return
            try:
                async with connection.transaction():
                    await self._apply(connection, event, at)
            except AlreadyHandled:
                return

    async def _apply(self, connection: Connection, event: Event, at: datetime) -> None:
        match event:
            case OrderStatusChanged(status="pending"):
                await _place(
                    connection, event, self._network(event), at, event.expires_at or at + self._catalogue.expiry
                )
            case OrderStatusChanged():
                await _end(connection, event, at)
            case WalletAdded():
                await _note(connection, event.event_id)
                await _add(connection, Wallet(event.currency, self._network(event), event.address), at)
            case WalletRetired():
                await _note(connection, event.event_id)
                await connection.execute(SQL["retire_wallet"], event.currency, self._network(event), event.address)

    def _network(self, event: Event) -> str:
        network = event.network or self._catalogue.currencies[event.currency].only_network
        assert network is not None, "an event names its network where its currency has several"
        return network


async def _place(
    connection: Connection, event: OrderStatusChanged, network: str, at: datetime, expires_at: datetime
) -> None:
    """A new order gets the first free wallet, or waits."""
    assert event.amount is not None
    assert event.recipient is not None
    order = (event.currency, event.order_id)
    address = await connection.fetchval(SQL["first_free_wallet"], event.currency, network)
    recipient = (event.recipient.email, event.recipient.locale)
    if not await connection.fetchval(SQL["add_order"], *order, network, event.amount, *recipient, expires_at, address):
        raise AlreadyHandled
    if address is not None:
        wallet = Wallet(event.currency, network, address)
        await connection.execute(SQL["hold_wallet"], *wallet, event.order_id)
        await _notify(connection, wallet, event.order_id, event.amount, at, expires_at, waited=False)


async def _end(connection: Connection, event: OrderStatusChanged, at: datetime) -> None:
    """An order leaves the queue, or gives its wallet back."""
    order = (event.currency, event.order_id, event.status)
    timed_out = event.status == "cancelled" and event.reason == PAYMENT_TIMEOUT
    ended = await connection.fetchrow(SQL["end_order"], *order, timed_out)
    if ended is None:
        await connection.execute(SQL["remember_ended"], *order)
    elif ended["address"] is not None:
        wallet = Wallet(event.currency, ended["network"], ended["address"])
        if ended["retiring"]:
            await connection.execute(SQL["lay_off_wallet"], *wallet)
        else:
            await _offer(connection, wallet, at)


async def _note(connection: Connection, event_id: str) -> None:
    """A wallet comes and goes: unlike an order's, its state does not say which events it has seen."""
    if not await connection.fetchval(SQL["note_wallet_event"], event_id):
        raise AlreadyHandled


async def _add(connection: Connection, wallet: Wallet, at: datetime) -> None:
    if await connection.fetchval(SQL["add_wallet"], *wallet):
        await _offer(connection, wallet, at)


async def _offer(connection: Connection, wallet: Wallet, at: datetime) -> None:
    """The wallet goes to the order that has waited longest, else to the tail of the free list."""
    order = await connection.fetchrow(SQL["serve_oldest"], *wallet)
    if order is None:
        await connection.execute(SQL["free_wallet"], *wallet)
        return
    await connection.execute(SQL["hold_wallet"], *wallet, order["order_id"])
    await _notify(connection, wallet, order["order_id"], order["amount"], at, order["expires_at"], waited=True)


async def _notify(
    connection: Connection,
    wallet: Wallet,
    order_id: str,
    amount: str,
    at: datetime,
    expires_at: datetime,
    *,
    waited: bool,
) -> None:
    """Into the outbox: published once the transaction is committed, and only then."""
    notification = WalletAssigned(
        notification_id=uuid4(),
        order_id=order_id,
        currency=wallet.currency,
        network=wallet.network,
        address=wallet.address,
        amount=amount,
        waited=waited,
        assigned_at=at,
        expires_at=expires_at,
    )
    await connection.execute(SQL["add_to_outbox"], order_id, notification.model_dump_json())
