"""`walletq order set-status`: an operator's change of an order's status."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from operations.database import connect_operator, operator_session
from operations.process import fields_named
from operations.terminal import print_json
from producers.checks import known_currency
from producers.operator import set_status
from producers.publisher import Place, Publisher
from schemas.catalogue import Catalogue, read_catalogue
from schemas.events import FINAL, PAYMENT_TIMEOUT, OrderStatusChanged, Status
from schemas.settings import Settings
from schemas.topics import names
from storage.errors import WalletqError
from storage.sql import read_queries

SQL = read_queries("operations")
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Change:
    """What the operator asked for."""

    order_id: str
    status: Status
    currency: str | None = None
    reason: str | None = None
    actor: str | None = None
    force: bool = False
    wait_seconds: float | None = None


@dataclass(frozen=True)
class Known:
    """An order as the database has it."""

    currency: str
    status: str
    waiting: bool


async def change_status(settings: Settings, change: Change, *, as_json: bool) -> int:
    """Publish the change, and wait for its effect where that is asked for. Returns the exit code."""
    catalogue = read_catalogue(settings.catalogue)
    currency = change.currency
    if currency not in catalogue.currencies or not change.force:
        order = await _find(settings, change, catalogue)
        currency = order.currency
        if (refused := refusal(order, change.status, change.reason)) and not change.force:
            raise WalletqError(f"order {change.order_id} ({currency}) {refused}. --force publishes it all the same.")
        if order.status == change.status:
            print(f"order {change.order_id} is {order.status} already: this has no effect", file=sys.stderr)
    event = _event(change, currency)
    async with Publisher(settings) as publisher:
        place = await publisher.publish(event)
    outcome = None
    if change.wait_seconds is not None:
        outcome = await _wait(settings, place, change.wait_seconds)
    _report(settings, event, place, outcome, as_json=as_json)
    return 0 if outcome in (None, "applied") else 1


def refusal(order: Known, status: str, reason: str | None = None) -> str | None:
    """Why the change would be refused or do nothing at all; None where it takes effect, or repeats what is."""
    if order.status == status:
        return None
    if order.status in FINAL:
        return f"is {order.status}, which is final: it cannot become {status}"
    if status in ("paid", "processing") and order.waiting:
        return f"waits for a wallet: it cannot become {status}"
    if order.status == "processing" and status == "paid":
        return "is processing: paid is behind it"
    if status == "cancelled" and reason == PAYMENT_TIMEOUT and order.status != "pending":
        return f"is {order.status}: {PAYMENT_TIMEOUT} ends only a pending order"
    return None


def only_one(orders: Sequence[Known], order_id: str) -> Known:
    """The one order with this id, or WalletqError that says how many there are."""
    if not orders:
        raise WalletqError(
            f"order {order_id} is not known. If it came a moment ago: `walletq status` shows what is not applied yet."
        )
    if len(orders) > 1:
        raise several(order_id, [(order.currency, order.status) for order in orders])
    return orders[0]


def several(order_id: str, orders: Sequence[tuple[str, str]]) -> WalletqError:
    """The error that several orders (currency, status) have this id."""
    found = ", ".join(f"{currency} ({status})" for currency, status in orders)
    return WalletqError(f"several orders have the id {order_id}: {found}. Say which: --currency")


async def _find(settings: Settings, change: Change, catalogue: Catalogue) -> Known:
    async with operator_session(settings, "order") as connection:
        currencies = [change.currency] if change.currency else await currencies_of_orders(connection)
        rows = await connection.fetch(SQL["orders_by_id"], currencies, change.order_id)
    orders = [Known(row["currency"], row["status"], row["queue_place"] is not None) for row in rows]
    if not orders and change.currency is not None:
        known_currency(catalogue, change.currency)  # only an order that is known may have another one
    return only_one(orders, change.order_id)


async def currencies_of_orders(connection: asyncpg.Connection) -> list[str]:
    """The currencies that have orders, also those that have left the catalogue."""
    return [row["currency"] for row in await connection.fetch(SQL["currencies"])]


def _event(change: Change, currency: str) -> OrderStatusChanged:
    with fields_named():
        return set_status(
            change.order_id,
            change.status,
            currency,
            reason=change.reason,
            actor=change.actor,
            now=datetime.now(UTC),
        )


async def _wait(settings: Settings, place: Place, seconds: float) -> str:
    """ "applied", the reason of the dead letter that it became, or that the time is over."""
    topic = names(settings).orders
    connection = await connect_operator(settings, "order")
    try:
        async with asyncio.timeout(seconds):
            # What is waited for happens in another process.
            while await _next_offset(connection, topic, place.partition) <= place.offset:  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)
        refused = await connection.fetchrow(SQL["refusal"], topic, place.partition, place.offset)
        return f"{refused['reason']}: {refused['message']}" if refused else "applied"
    except asyncio.TimeoutError:
        return f"not applied within {seconds:g} s: does `walletq allocate` run?"
    finally:
        connection.terminate()


async def _next_offset(connection: asyncpg.Connection, topic: str, partition: int) -> int:
    return await connection.fetchval(SQL["place"], topic, partition) or 0


def _report(settings: Settings, event: OrderStatusChanged, place: Place, outcome: str | None, *, as_json: bool) -> None:
    topic = names(settings).orders
    if as_json:
        print_json(
            {
                "event_id": event.event_id,
                "order_id": event.order_id,
                "currency": event.currency,
                "status": event.status,
                "topic": topic,
                "partition": place.partition,
                "offset": place.offset,
                "outcome": outcome,
            }
        )
        return
    where = f"{topic}/{place.partition}/{place.offset}"
    print(f"published {event.status} for order {event.order_id} ({event.currency}) at {where}")
    if outcome:
        print(outcome, file=sys.stdout if outcome == "applied" else sys.stderr)
