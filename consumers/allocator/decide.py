"""The rules: a pure function from (state read, events) to changes. No I/O, no clock, no randomness.

The table of an order's statuses, the pool's two queues and the life of a wallet are all here; the state is a
deterministic function of the log, so any split of the log into batches comes to the same.
"""

from decimal import Decimal

from consumers.allocator.state import (
    Assignment,
    Changes,
    Counts,
    DeadLetter,
    Entry,
    KnownOrder,
    KnownWallet,
    Notification,
    Order,
    OrderKey,
    Reason,
    Refusal,
    Release,
    State,
    Wallet,
    WalletKey,
)
from schemas.catalogue import Catalogue
from schemas.events import FINAL, PAYMENT_TIMEOUT, OrderStatusChanged, WalletAdded, WalletCooled, event_uuid

Outcome = Refusal | bool
"A refusal; else whether the event changed anything."
APPLIED, NO_EFFECT = True, False


def decide(state: State, entries: list[Entry], catalogue: Catalogue, topic: str, partition: int) -> Changes:
    """What the entries change, applied one after the other.

    Args:
        state: what is known before the first entry; it is not modified.
        entries: records of one partition, in offset order.
        catalogue: the catalogue that applies to all of them.
        topic, partition: where the log is: ids are made of it.
    """
    batch = _Batch(state, catalogue, topic, partition)
    for entry in entries:
        batch.take(entry)
    return batch.changes()


class _Batch:
    """The state while the entries of one batch are applied to it."""

    def __init__(self, state: State, catalogue: Catalogue, topic: str, partition: int) -> None:
        self._before = state
        self._catalogue = catalogue
        self._topic = topic
        self._partition = partition
        self._orders: dict[OrderKey, Order] = {}
        self._wallets: dict[WalletKey, Wallet] = {}
        # A dict keeps its order, and forgets a member in the middle without a search.
        self._free = {pool: dict.fromkeys(addresses) for pool, addresses in state.free.items()}
        self._waiting = {pool: dict.fromkeys(orders) for pool, orders in state.waiting.items()}
        self._assignments: dict[int, Assignment] = {}
        self._releases: list[Release] = []
        self._dead_letters: list[DeadLetter] = []
        self._notifications: list[Notification] = []
        self._applied = self._no_effect = self._dropped_fields = self._early_finals = 0

    def take(self, entry: Entry) -> None:
        outcome = entry.refusal or self._apply(entry)
        self._dropped_fields += entry.dropped_fields
        if isinstance(outcome, Refusal):
            self._dead_letters.append(DeadLetter(entry, outcome))
        elif outcome:
            self._applied += 1
        else:
            self._no_effect += 1

    def changes(self) -> Changes:
        orders, wallets = self._before.orders, self._before.wallets
        return Changes(
            new_orders=[order for key, order in self._orders.items() if key not in orders],
            changed_orders=[order for key, order in self._orders.items() if key in orders],
            new_wallets=[wallet for key, wallet in self._wallets.items() if key not in wallets],
            changed_wallets=[wallet for key, wallet in self._wallets.items() if key in wallets],
            assignments=list(self._assignments.values()),
            releases=self._releases,
            dead_letters=self._dead_letters,
            notifications=self._notifications,
            counts=Counts(
                self._applied, self._no_effect, len(self._dead_letters), self._dropped_fields, self._early_finals
            ),
        )

    def _apply(self, entry: Entry) -> Outcome:
        event = entry.event
        if isinstance(event, OrderStatusChanged):
            key = (event.currency, event.order_id)
            order = self._orders.get(key) or self._before.orders.get(key)
            if event.status in FINAL:
                return self._end(entry, event, order)
            if event.status == "pending":
                return self._begin(entry, event, order)
            return self._progress(entry, event, order)
        assert event is not None
        assert entry.network is not None
        assert entry.address is not None
        name = (event.currency, entry.network, entry.address)
        wallet = self._wallets.get(name) or self._before.wallets.get(name)
        if isinstance(event, WalletAdded):
            return self._add_wallet(entry, event.currency, wallet)
        if wallet is None:
            return Refusal(Reason.UNKNOWN_WALLET, f"no wallet with this address was ever added to {entry.network}")
        if isinstance(event, WalletCooled):
            return self._cooled(entry, event, wallet)
        return self._retire(entry, wallet)

    # Orders

    def _begin(self, entry: Entry, event: OrderStatusChanged, order: KnownOrder | Order | None) -> Outcome:
        assert entry.network is not None
        assert event.amount is not None
        if order is not None:
            return self._begin_again(entry, event, order)
        assert event.recipient is not None
        order = Order(
            currency=event.currency,
            order_id=event.order_id,
            status="pending",
            network=entry.network,
            amount=event.amount,
            email=event.recipient.email,
            locale=event.recipient.locale or "en",
            expires_at=entry.expires_at,
            traceparent=entry.traceparent,
            reason=event.reason,
            actor=event.actor,
            pending_offset=entry.offset,
            pending_at=entry.at,
        )
        pool = (event.currency, entry.network)
        if free := self._free.get(pool):
            address = next(iter(free))
            del free[address]
            self._assign(entry, self._new_order(order), self._wallet((*pool, address)), waited=False)
        else:
            self._new_order(order).queue_place = entry.offset
            self._waiting.setdefault(pool, {})[order.order_id] = None
        return APPLIED

    def _begin_again(self, entry: Entry, event: OrderStatusChanged, order: KnownOrder | Order) -> Outcome:
        if order.network is None:
            # It had ended before it began: it gets nothing, but what it is about is known from here on.
            order = self._order((order.currency, order.order_id))
            order.network, order.amount = entry.network, event.amount
            order.pending_offset, order.pending_at = entry.offset, entry.at
            return APPLIED
        if order.network != entry.network:
            return Refusal(
                Reason.CONFLICTING_ORDER, f"the order is known with network {order.network}, not {entry.network}"
            )
        if order.amount != event.amount and Decimal(order.amount or 0) != Decimal(event.amount or 0):
            return Refusal(
                Reason.CONFLICTING_ORDER, f"the order is known with amount {order.amount}, not {event.amount}"
            )
        return NO_EFFECT

    def _progress(self, entry: Entry, event: OrderStatusChanged, order: KnownOrder | Order | None) -> Outcome:
        if order is None:
            return self._unknown(entry, event, Reason.UNKNOWN_ORDER)
        if order.status in FINAL:
            return Refusal(Reason.INVALID_TRANSITION, f"the order is {order.status}, and cannot become {event.status}")
        if order.address is None:
            return Refusal(Reason.NO_WALLET, f"the order waits for a wallet, and cannot become {event.status}")
        if order.status == event.status or order.status == "processing":
            return NO_EFFECT
        order = self._order((order.currency, order.order_id))
        order.status, order.reason, order.actor = event.status, event.reason, event.actor
        if event.status == "paid":
            order.paid_offset = entry.offset
        else:
            order.processing_offset = entry.offset
        return APPLIED

    def _end(self, entry: Entry, event: OrderStatusChanged, order: KnownOrder | Order | None) -> Outcome:
        if order is None:
            if not entry.in_catalogue:
                return self._unknown(entry, event, Reason.UNKNOWN_ORDER)
            self._early_finals += 1
            _end(self._new_order(Order(event.currency, event.order_id, event.status)), entry, event)
            return APPLIED
        if order.status in FINAL:
            if order.status == event.status:
                return NO_EFFECT
            return Refusal(Reason.INVALID_TRANSITION, f"the order is {order.status}, and cannot become {event.status}")
        if event.status == "cancelled" and event.reason == PAYMENT_TIMEOUT and order.status != "pending":
            return NO_EFFECT  # a customer who has paid must not lose the wallet to a stale clock
        assert order.network is not None
        pool = (order.currency, order.network)
        address = order.address
        _end(self._order((order.currency, order.order_id)), entry, event)
        if address is None:
            self._waiting.get(pool, {}).pop(order.order_id, None)
        else:
            self._release(entry, self._wallet((*pool, address)))
        return APPLIED

    def _unknown(self, entry: Entry, event: OrderStatusChanged, reason: Reason) -> Refusal:
        if not entry.in_catalogue:
            return Refusal(Reason.UNKNOWN_CURRENCY, f"the catalogue has no currency {event.currency}")
        return Refusal(reason, f"no pending event of the order came before {event.status}")

    # Wallets

    def _add_wallet(self, entry: Entry, currency: str, wallet: KnownWallet | Wallet | None) -> Outcome:
        assert entry.network is not None
        assert entry.address is not None
        key = (currency, entry.network, entry.address)
        if wallet is None:
            self._wallets[key] = Wallet(*key, "retired", added_offset=entry.offset)
        elif wallet.status != "retired" and not wallet.retiring:
            return NO_EFFECT
        wallet = self._wallet(key)
        wallet.added_offset = entry.offset
        if wallet.retiring:
            wallet.retiring = False
        else:
            self._serve(entry, wallet)
        return APPLIED

    def _retire(self, entry: Entry, wallet: KnownWallet | Wallet) -> Outcome:
        if wallet.status == "retired" or wallet.retiring:
            return NO_EFFECT
        wallet = self._wallet((wallet.currency, wallet.network, wallet.address))
        wallet.retired_offset = entry.offset
        if wallet.status == "occupied":
            wallet.retiring = True
        else:
            self._free.get((wallet.currency, wallet.network), {}).pop(wallet.address, None)
            _become(wallet, "retired")
        return APPLIED

    def _cooled(self, entry: Entry, event: WalletCooled, wallet: KnownWallet | Wallet) -> Outcome:
        if wallet.cooling_assignment_id != event.assignment_id:
            return NO_EFFECT  # another cooling, or none
        self._serve(entry, self._wallet((wallet.currency, wallet.network, wallet.address)))
        return APPLIED

    def _release(self, entry: Entry, wallet: Wallet) -> None:
        assigned_offset = wallet.assigned_offset
        assert assigned_offset is not None
        if (assignment := self._assignments.get(assigned_offset)) is not None:
            self._assignments[assigned_offset] = assignment._replace(released_offset=entry.offset, released_at=entry.at)
        else:
            self._releases.append(Release(assigned_offset, entry.offset, entry.at))
        currency = self._catalogue.currencies.get(wallet.currency)
        if wallet.retiring:
            _become(wallet, "retired")
        elif currency is not None and currency.cool_down_minutes:
            _become(wallet, "cooling")
            wallet.cooling_assignment_id = event_uuid(self._topic, self._partition, assigned_offset)
            wallet.cooling_until = entry.at + currency.cool_down
        else:
            self._serve(entry, wallet)

    def _serve(self, entry: Entry, wallet: Wallet) -> None:
        """A wallet is free: the oldest waiting order gets it; where none waits, it goes to the tail."""
        pool = (wallet.currency, wallet.network)
        if waiting := self._waiting.get(pool):
            order_id = next(iter(waiting))
            del waiting[order_id]
            self._assign(entry, self._order((wallet.currency, order_id)), wallet, waited=True)
        else:
            _become(wallet, "available")
            wallet.free_place = entry.offset
            self._free.setdefault(pool, {})[wallet.address] = None

    def _assign(self, entry: Entry, order: Order, wallet: Wallet, *, waited: bool) -> None:
        assert order.amount is not None
        assert order.expires_at is not None
        order.queue_place, order.address = None, wallet.address
        _become(wallet, "occupied")
        wallet.order_id, wallet.assigned_offset = order.order_id, entry.offset
        assignment = Assignment(
            assignment_id=event_uuid(self._topic, self._partition, entry.offset),
            assigned_offset=entry.offset,
            released_offset=None,
            currency=wallet.currency,
            network=wallet.network,
            address=wallet.address,
            order_id=order.order_id,
            waited=waited,
            assigned_at=entry.at,
            released_at=None,
        )
        self._assignments[entry.offset] = assignment
        self._notifications.append(Notification(assignment, order.amount, order.expires_at, order.traceparent))

    # The batch's own rows: what it changes, and only that

    def _new_order(self, order: Order) -> Order:
        self._orders[order.currency, order.order_id] = order
        return order

    def _order(self, key: OrderKey) -> Order:
        order = self._orders.get(key)
        if order is None:
            order = self._orders[key] = Order(*self._before.orders[key])
        return order

    def _wallet(self, key: WalletKey) -> Wallet:
        wallet = self._wallets.get(key)
        if wallet is None:
            wallet = self._wallets[key] = Wallet(*self._before.wallets[key])
        return wallet


def _end(order: Order, entry: Entry, event: OrderStatusChanged) -> None:
    """The order has a final status: it neither waits nor holds a wallet any more."""
    order.status, order.reason, order.actor = event.status, event.reason, event.actor
    order.queue_place = order.address = None
    order.ended_offset, order.ended_at = entry.offset, entry.at


def _become(wallet: Wallet, status: str) -> None:
    """The wallet has a new status, and nothing ties it any more to a place, an order or a cooling."""
    wallet.status = status
    wallet.free_place = wallet.order_id = wallet.assigned_offset = None
    wallet.cooling_assignment_id = wallet.cooling_until = None
    wallet.retiring = False
