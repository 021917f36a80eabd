"""I1 to I4 and I6 of section 8 of the design, checked over the whole state and its history."""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from tests.reference.catalogue import SHIPPED, Catalogue
from tests.reference.events import FINAL
from tests.reference.model import Model, Order, Pool
from tests.reference.records import Record


class InvariantError(AssertionError):
    """What does not hold, and after which record."""

    def __init__(self, found: list[str], record: Record) -> None:
        super().__init__(f"after {record}: " + "; ".join(found))
        self.found = found
        self.record = record


def replay_checked(records: Iterable[Record], catalogue: Catalogue = SHIPPED) -> Model:
    """The state after a log; raises InvariantError at the first record after which something does not hold.

    Looks at everything after each record, so it is for logs of hundreds of records.
    """
    model = Model(catalogue=catalogue)
    for taken, record in enumerate(records, start=1):
        model.take(record)
        if found := violations(model, records=taken):
            raise InvariantError(found, record)
    return model


def violations(model: Model, records: int | None = None) -> list[str]:
    """Everything that does not hold, in words; with the number of records that were taken, I6 too."""
    found = [
        *one_order_for_a_wallet(model),
        *one_wallet_for_an_order(model),
        *no_free_wallet_while_an_order_waits(model),
        *first_in_first_out(model),
        *lists_agree_with_states(model),
    ]
    if records is not None:
        found += every_record_accounted_for(model, records)
    return found


def one_order_for_a_wallet(model: Model) -> Iterator[str]:
    """I1: a wallet is held by at most one live order, and no two assignments of a wallet overlap."""
    holders: dict[tuple[str, str, str], str] = {}
    for order in model.orders.values():
        if order.address is None:
            continue
        wallet = (order.currency, order.network or "", order.address)
        if order.status in FINAL:
            yield f"I1: {order.order_id} has ended and holds {wallet}"
        if wallet in holders:
            yield f"I1: {wallet} is held by {holders[wallet]} and by {order.order_id}"
        holders[wallet] = order.order_id
    spans = defaultdict(list)
    for made in model.assignments:
        spans[made.currency, made.network, made.address].append((made.assigned_offset, made.released_offset))
    for subject, taken in spans.items():
        ordered = sorted(taken, key=lambda span: span[0])
        for (_, released), (assigned, _) in pairwise(ordered):
            if released is None or released > assigned:
                yield f"I1: two assignments of {subject} overlap at {assigned}"


def one_wallet_for_an_order(model: Model) -> Iterator[str]:
    """I2: an order holds at most one wallet, at no offset more than one, and never a second one later."""
    holdings = defaultdict(list)
    for wallet in model.wallets.values():
        if wallet.held_by is not None:
            holdings[wallet.currency, wallet.held_by].append((wallet.network, wallet.address))
    for order, held in holdings.items():
        if len(held) > 1:
            yield f"I2: {order} holds {held}"
    assigned = [(made.currency, made.order_id) for made in model.assignments]
    if len(set(assigned)) != len(assigned):
        yield "I2: an order was assigned twice"


def no_free_wallet_while_an_order_waits(model: Model) -> Iterator[str]:
    """I3: work conservation."""
    for pool, queue in model.queues.items():
        if queue and model.free.get(pool):
            yield f"I3: {pool} has free {model.free[pool]} and waiting {queue}"


def first_in_first_out(model: Model) -> Iterator[str]:
    """I4: no order was assigned before one that began to wait earlier and was still waiting."""
    steps: dict[Pool, list[tuple[int, str, Order]]] = defaultdict(list)
    for order in model.orders.values():
        if order.began_waiting is not None:
            steps[order.currency, order.network or ""].append((order.began_waiting, "begins", order))
        if order.ended_waiting is not None:
            steps[order.currency, order.network or ""].append((order.ended_waiting, "ends", order))
    for made in model.assignments:
        order = model.orders[made.currency, made.order_id]
        steps[made.currency, made.network].append((made.assigned_offset, "assigned", order))

    for pool, taken in steps.items():
        waiting: list[int] = []
        # at one offset "assigned" comes before "ends": the order served there still counts as waiting
        for offset, step, order in sorted(taken, key=lambda step: step[:2]):
            place = order.began_waiting if order.began_waiting is not None else offset
            if step == "begins":
                insort(waiting, place)
            elif step == "ends":
                waiting.remove(place)
            elif waiting and waiting[0] < place:
                yield f"I4: {pool} served {order.order_id} at {offset}, one waited since {waiting[0]}"


def every_record_accounted_for(model: Model, records: int) -> Iterator[str]:
    """I6: every record was applied, had no effect, or is a dead letter."""
    counted = model.counts["applied"] + model.counts["no_effect"] + model.counts["dead_letter"]
    if counted != records:
        yield f"I6: {records} records, {counted} outcomes"
    if len(set(model.dead_letters)) != model.counts["dead_letter"]:
        yield f"I6: {model.counts['dead_letter']} dead letters counted, {len(model.dead_letters)} kept"


def lists_agree_with_states(model: Model) -> Iterator[str]:
    """Queues, free lists, holders and open assignments say the same as the orders and wallets themselves."""
    waiting = {
        (order.currency, order.network, order.place, order.order_id)
        for order in model.orders.values()
        if order.place is not None
    }
    if waiting != {(*pool, *entry) for pool, queue in model.queues.items() for entry in queue}:
        yield "the queues do not hold exactly the waiting orders"
    free = {
        (wallet.currency, wallet.network, wallet.place, wallet.address)
        for wallet in model.wallets.values()
        if wallet.status == "available"
    }
    if free != {(*pool, *entry) for pool, entries in model.free.items() for entry in entries}:
        yield "the free lists do not hold exactly the available wallets"
    for lists in (model.queues, model.free):
        yield from (f"{pool} is not in order" for pool, entries in lists.items() if entries != sorted(entries))

    for order in model.orders.values():
        live = order.status not in FINAL
        if live != ((order.place is not None) != (order.address is not None)):
            yield f"{order} must either wait or hold a wallet while it lives, and neither afterwards"
        if order.status in ("paid", "processing") and order.address is None:
            yield f"{order} is {order.status} without a wallet"
    for wallet in model.wallets.values():
        if (wallet.status == "occupied") != (wallet.held_by is not None):
            yield f"{wallet} is occupied and held by nobody, or the reverse"
        if (wallet.status == "cooling") != (wallet.cooling_since is not None):
            yield f"{wallet} cools since no assignment, or the reverse"
        if wallet.retiring and wallet.status != "occupied":
            yield f"{wallet} is retiring, though nobody holds it"

    held = {
        (wallet.currency, wallet.held_by, wallet.network, wallet.address)
        for wallet in model.wallets.values()
        if wallet.held_by is not None
    }
    holding = {
        (order.currency, order.order_id, order.network, order.address)
        for order in model.orders.values()
        if order.address is not None
    }
    unreleased = {
        (made.currency, made.order_id, made.network, made.address)
        for made in model.assignments
        if made.released_offset is None
    }
    if not held == holding == unreleased:
        yield "wallets, orders and open assignments disagree about who holds what"
