"""What a batch needs to know before anything is decided: pure, so that any store can gather it."""

from collections import Counter
from collections.abc import Iterable, Sequence

from consumers.allocator.state import Entry, Order, OrderKey, Pool, WalletKey
from schemas.events import FINAL, OrderStatusChanged, WalletRetired


def named(entries: Iterable[Entry]) -> tuple[list[OrderKey], list[WalletKey]]:
    """The orders and the wallets that the entries name, each once."""
    orders: dict[OrderKey, None] = {}
    wallets: dict[WalletKey, None] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, OrderStatusChanged):
            orders[event.currency, event.order_id] = None
        elif event is not None and entry.network is not None and entry.address is not None:
            wallets[event.currency, entry.network, entry.address] = None
    return list(orders), list(wallets)


def heads(entries: Sequence[Entry], orders: dict[OrderKey, Order]) -> tuple[Counter[Pool], Counter[Pool]]:
    """How many free wallets and how many waiting orders of each pool the entries can use up at most.

    A pending or a retirement takes one free wallet at most. A final status or a wallet that comes takes one waiting
    order at most out of the queue. What joins a queue within the batch stands behind all that were there before.

    Args:
        entries: the batch.
        orders: the orders that it names and that are known.
    """
    free: Counter[Pool] = Counter()
    waiting: Counter[Pool] = Counter()
    born: dict[OrderKey, str] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, OrderStatusChanged):
            key = (event.currency, event.order_id)
            if event.status == "pending" and entry.network is not None:
                free[event.currency, entry.network] += 1
                born.setdefault(key, entry.network)
            elif event.status in FINAL:
                order = orders.get(key)
                network = order.network if order is not None else born.get(key)
                if network is not None:
                    waiting[event.currency, network] += 1
        elif event is not None and entry.network is not None:
            pool = (event.currency, entry.network)
            if isinstance(event, WalletRetired):
                free[pool] += 1
            else:
                waiting[pool] += 1
    return free, waiting
