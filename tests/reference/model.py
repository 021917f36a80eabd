"""What happens to orders and wallets: the rules of section 2 of the design, one record at a time.

An outcome is "applied", "no_effect" or the reason of a dead letter. Orders wait in one plain list for
each pool, free wallets in another, both oldest first, each with the offset that gave it its place.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from tests.reference.addresses import normalised
from tests.reference.catalogue import SHIPPED, Catalogue
from tests.reference.events import FINAL, DeadLetterError, Event, parse
from tests.reference.records import PARTITIONS, Record, right_partition

APPLIED, NO_EFFECT = "applied", "no_effect"
TOPIC = "order-status"

Pool = tuple[str, str]


def assignment_id(partition: int, offset: int, topic: str = TOPIC) -> UUID:
    """The id of the one assignment that the record at this offset can have made."""
    return uuid5(NAMESPACE_URL, f"walletq:{topic}/{partition}/{offset}")


@dataclass
class Order:
    """An order; of one whose final status came before any pending, only the first four fields are known."""

    currency: str
    order_id: str
    partition: int
    status: str
    network: str | None = None
    amount: str | None = None
    email: str | None = None
    locale: str | None = None
    expires_at: datetime | None = None
    place: int | None = None  # offset of its pending, while it waits
    address: str | None = None  # of the wallet that it holds
    began_waiting: int | None = None  # these two stay when the waiting is over
    ended_waiting: int | None = None


@dataclass
class Wallet:
    """A wallet; its status is available, occupied, cooling or retired."""

    currency: str
    network: str
    address: str
    partition: int
    status: str = "retired"
    place: int | None = None  # in the free list: offset of the event that freed it
    held_by: str | None = None  # order id
    retiring: bool = False  # occupied, and leaves when its order ends
    cooling_since: UUID | None = None  # the assignment whose release began the cooling


@dataclass
class Assignment:
    """From which offset to which a wallet was held by an order."""

    partition: int
    assigned_offset: int
    released_offset: int | None
    currency: str
    network: str
    address: str
    order_id: str
    waited: bool
    assigned_at_ms: int
    released_at_ms: int | None = None


class DeadLetter(NamedTuple):
    partition: int
    offset: int
    reason: str


@dataclass
class Model:
    """The state after the records taken so far; `catalogue` may be replaced between two records."""

    catalogue: Catalogue = field(default_factory=lambda: SHIPPED)
    partitions: int = PARTITIONS
    topic: str = TOPIC
    refused: frozenset[tuple[int, int]] = frozenset()  # (partition, offset) that the database refused
    orders: dict[tuple[str, str], Order] = field(default_factory=dict)
    wallets: dict[tuple[str, str, str], Wallet] = field(default_factory=dict)
    assignments: list[Assignment] = field(default_factory=list)
    queues: dict[Pool, list[tuple[int, str]]] = field(default_factory=dict)  # (place, order id)
    free: dict[Pool, list[tuple[int, str]]] = field(default_factory=dict)  # (place, address)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # applied, no_effect, dead_letter, dropped_fields
    open_assignments: dict[tuple[str, str], Assignment] = field(default_factory=dict)  # by (currency, order id)
    parse: Callable[[bytes | None, Catalogue], Event] = parse

    def take(self, record: Record) -> str:
        """Process one record and return its outcome."""
        try:
            outcome = self._process(record)
        except DeadLetterError as dead:
            self.dead_letters.append(DeadLetter(record.partition, record.offset, dead.reason))
            self.counts["dead_letter"] += 1
            return dead.reason
        self.counts[outcome] += 1
        return outcome

    def _process(self, record: Record) -> str:
        if (record.partition, record.offset) in self.refused:
            raise DeadLetterError("storage_refused")
        event = self.parse(record.value, self.catalogue)
        self.counts["dropped_fields"] += event.dropped_fields
        self._check_currency(event, record)
        self._check_place(event, record)
        network = self._check_network(event)
        if event.status == "pending":
            self._check_limits(event)
        if event.type != "order_status_changed":
            return self._wallet_event(event, record, network)
        if event.status == "pending":
            return self._pending(event, record, network)
        if event.status in FINAL:
            return self._final(event, record)
        return self._progress(event)

    # The checks, in their order

    def _check_currency(self, event: Event, record: Record) -> None:
        if event.currency in self.catalogue:
            return
        order = self._order(event)
        if order is None or event.status == "pending" or order.partition != record.partition:
            raise DeadLetterError("unknown_currency")

    def _check_place(self, event: Event, record: Record) -> None:
        key = event.currency.encode()
        if record.key != key:
            raise DeadLetterError("wrong_key")
        if record.partition != right_partition(key, self.partitions):
            raise DeadLetterError("wrong_partition")

    def _check_network(self, event: Event) -> str:
        """The network that the event means; "" where it names none and needs none."""
        if event.status in FINAL or event.currency not in self.catalogue:
            return ""
        networks = self.catalogue[event.currency].networks
        if event.network is not None:
            if event.network not in networks:
                raise DeadLetterError("unknown_network")
            return event.network
        if event.status in ("paid", "processing"):
            return ""
        if len(networks) != 1:
            raise DeadLetterError("network_required")
        return networks[0]

    def _check_limits(self, event: Event) -> None:
        currency = self.catalogue[event.currency]
        if not currency.smallest <= Decimal(event.amount or "") <= currency.largest:
            raise DeadLetterError("amount_out_of_range")

    # Orders

    def _order(self, event: Event) -> Order | None:
        return self.orders.get((event.currency, event.order_id or ""))

    def _pending(self, event: Event, record: Record, network: str) -> str:
        order = self._order(event)
        if order is None:
            order = Order(event.currency, event.order_id or "", record.partition, "pending")
            self.orders[order.currency, order.order_id] = order
            self._remember_content(order, event, record, network)
            self._give_wallet_or_queue(order, record)
            return APPLIED
        if order.network is None or order.amount is None:  # it had ended before it began, and gets no mail
            order.network, order.amount = network, event.amount
            return APPLIED
        if order.network != network or Decimal(order.amount) != Decimal(event.amount or ""):
            raise DeadLetterError("conflicting_order")
        return NO_EFFECT

    def _remember_content(self, order: Order, event: Event, record: Record, network: str) -> None:
        order.network, order.amount = network, event.amount
        order.email, order.locale = event.email, event.locale
        came_at = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
        expiry = timedelta(minutes=self.catalogue[event.currency].expiry_minutes)
        order.expires_at = event.expires_at or came_at + expiry

    def _give_wallet_or_queue(self, order: Order, record: Record) -> None:
        pool = (order.currency, order.network or "")
        free = self.free.setdefault(pool, [])
        if free:
            _, address = free.pop(0)
            self._assign(self.wallets[*pool, address], order, record, waited=False)
        else:
            order.place = order.began_waiting = record.offset
            self.queues.setdefault(pool, []).append((record.offset, order.order_id))

    def _progress(self, event: Event) -> str:
        """paid and processing."""
        order = self._order(event)
        if order is None:
            raise DeadLetterError("unknown_order")
        if order.status in FINAL:
            raise DeadLetterError("invalid_transition")
        if order.address is None:
            raise DeadLetterError("no_wallet")
        if order.status == event.status or (order.status, event.status) == ("processing", "paid"):
            return NO_EFFECT
        order.status = event.status or ""
        return APPLIED

    def _final(self, event: Event, record: Record) -> str:
        """completed, cancelled and failed."""
        order = self._order(event)
        status = event.status or ""
        if order is None:
            order = Order(event.currency, event.order_id or "", record.partition, status)
            self.orders[order.currency, order.order_id] = order
            return APPLIED
        if order.status in FINAL:
            if order.status != status:
                raise DeadLetterError("invalid_transition")
            return NO_EFFECT
        timed_out = status == "cancelled" and event.reason == "payment_timeout"
        if timed_out and order.status in ("paid", "processing"):
            return NO_EFFECT
        order.status = status
        if order.place is not None:
            self._leave_queue(order, record)
        else:
            self._release(order, record)
        return APPLIED

    def _leave_queue(self, order: Order, record: Record) -> None:
        self.queues[order.currency, order.network or ""].remove((order.place or 0, order.order_id))
        order.place, order.ended_waiting = None, record.offset

    def _release(self, order: Order, record: Record) -> None:
        wallet = self.wallets[order.currency, order.network or "", order.address or ""]
        assignment = self.open_assignments.pop((order.currency, order.order_id))
        assignment.released_offset, assignment.released_at_ms = record.offset, record.timestamp_ms
        order.address = wallet.held_by = None
        currency = self.catalogue.get(order.currency)
        if wallet.retiring:
            wallet.status, wallet.retiring = "retired", False
        elif currency is not None and currency.cooldown_minutes > 0:
            wallet.status = "cooling"
            wallet.cooling_since = assignment_id(assignment.partition, assignment.assigned_offset, self.topic)
        else:
            self._offer(wallet, record)

    # Wallets

    def _wallet_event(self, event: Event, record: Record, network: str) -> str:
        address = normalised(network, event.address or "")
        if address is None:
            raise DeadLetterError("invalid_address")
        name = (event.currency, network, address)
        if event.type == "wallet_added":
            return self._add(self.wallets.setdefault(name, Wallet(*name, record.partition)), record)
        if name not in self.wallets:
            raise DeadLetterError("unknown_wallet")
        wallet = self.wallets[name]
        return self._retire(wallet) if event.type == "wallet_retired" else self._cooled(wallet, event, record)

    def _add(self, wallet: Wallet, record: Record) -> str:
        if wallet.status == "retired":
            self._offer(wallet, record)
            return APPLIED
        if wallet.retiring:
            wallet.retiring = False
            return APPLIED
        return NO_EFFECT

    def _retire(self, wallet: Wallet) -> str:
        if wallet.status == "retired" or wallet.retiring:
            return NO_EFFECT
        if wallet.status == "occupied":
            wallet.retiring = True
            return APPLIED
        if wallet.status == "available":
            self.free[wallet.currency, wallet.network].remove((wallet.place or 0, wallet.address))
        wallet.status, wallet.place, wallet.cooling_since = "retired", None, None
        return APPLIED

    def _cooled(self, wallet: Wallet, event: Event, record: Record) -> str:
        if wallet.status != "cooling" or wallet.cooling_since != event.assignment_id:
            return NO_EFFECT
        wallet.cooling_since = None
        self._offer(wallet, record)
        return APPLIED

    def _offer(self, wallet: Wallet, record: Record) -> None:
        """The wallet goes to the oldest waiting order, else to the tail of the free list."""
        pool = (wallet.currency, wallet.network)
        queue = self.queues.setdefault(pool, [])
        if queue:
            _, order_id = queue[0]
            order = self.orders[wallet.currency, order_id]
            self._leave_queue(order, record)
            self._assign(wallet, order, record, waited=True)
        else:
            wallet.status, wallet.place = "available", record.offset
            self.free.setdefault(pool, []).append((record.offset, wallet.address))

    def _assign(self, wallet: Wallet, order: Order, record: Record, *, waited: bool) -> None:
        wallet.status, wallet.place, wallet.held_by = "occupied", None, order.order_id
        order.address = wallet.address
        assignment = Assignment(
            partition=record.partition,
            assigned_offset=record.offset,
            released_offset=None,
            currency=order.currency,
            network=wallet.network,
            address=wallet.address,
            order_id=order.order_id,
            waited=waited,
            assigned_at_ms=record.timestamp_ms,
        )
        self.assignments.append(assignment)
        self.open_assignments[order.currency, order.order_id] = assignment


def replay(
    records: Iterable[Record],
    catalogue: Catalogue = SHIPPED,
    refused: frozenset[tuple[int, int]] = frozenset(),
) -> Model:
    """The state after a whole log, its records in offset order for each partition."""
    model = Model(catalogue=catalogue, refused=refused)
    for record in records:
        model.take(record)
    return model
