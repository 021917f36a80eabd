"""What a batch needs to know before anything is decided: pure, so that any store can gather it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from consumers.allocator.state import Entry, KnownOrder, OrderKey, Pool, WalletKey
from schemas.events import FINAL, OrderStatusChanged, WalletRetired


class Needs(NamedTuple):
    """The orders and the wallets that a batch names, and how far it can reach into the queues of its pools.

    A pending or a retirement takes one free wallet at most. A wallet that comes and an order that ends take one waiting
    order at most out of the queue. What joins a queue within the batch stands behind all that were there before.
    """

    orders: dict[OrderKey, bool]
    "Whether the batch may end the order."
    wallets: dict[WalletKey, None]
    free: Counter[Pool]
    waiting: Counter[Pool]
    "Without what the ends of orders add that are known already: their pools are not."


def needs_of(entries: Iterable[Entry]) -> Needs:
    """What these entries need."""
    needs = Needs({}, {}, Counter(), Counter())
    orders, wallets, free, waiting = needs
    born: dict[OrderKey, str] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, OrderStatusChanged):
            key = (event.currency, event.order_id)
            if event.status in FINAL:
                if not orders.get(key):
                    orders[key] = True
                    if key in born:
                        waiting[event.currency, born[key]] += 1
                continue
            orders.setdefault(key, False)
            if event.status == "pending" and entry.network is not None:
                free[event.currency, entry.network] += 1
                born.setdefault(key, entry.network)
        elif event is not None and entry.network is not None and entry.address is not None:
            wallets[event.currency, entry.network, entry.address] = None
            queue = free if isinstance(event, WalletRetired) else waiting
            queue[event.currency, entry.network] += 1
    return needs


def many_waiting(needs: Needs, orders: Mapping[OrderKey, KnownOrder]) -> Counter[Pool]:
    """How many waiting orders of each pool are needed, once the named orders that are known have been read."""
    many = needs.waiting.copy()
    for key, ends in needs.orders.items():
        order = orders.get(key)
        if ends and order is not None and order.network is not None:
            many[order.currency, order.network] += 1
    return many
