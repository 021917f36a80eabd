"""A realistic log: wallets come, orders come, wait, are paid, end; wallets go and come back.

The generator keeps count of who waits and who holds a wallet, only so that it never reports a payment
for an order without one: no record of this log becomes a dead letter.
"""

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from tests.reference.catalogue import SHIPPED
from tests.traffic import addresses
from tests.traffic.addresses import address
from tests.traffic.messages import Message, keyed, moment, uuid_text

CURRENCIES = tuple(SHIPPED)
PHASE = 500
LOCALES = ("en", "ru", "de-AT", "zh-Hans-CN")


@dataclass
class _Pool:
    """What the generator knows of one pool."""

    currency: str
    network: str
    free: deque[str] = field(default_factory=deque)
    waiting: deque[str] = field(default_factory=deque)
    holding: dict[str, str] = field(default_factory=dict)  # order id → address
    status: dict[str, str] = field(default_factory=dict)  # of the orders that hold a wallet
    retiring: set[str] = field(default_factory=set)
    retired: list[str] = field(default_factory=list)

    def take_in(self, wallet: str) -> None:
        if self.waiting:
            self.hold(self.waiting.popleft(), wallet)
        else:
            self.free.append(wallet)

    def hold(self, order: str, wallet: str) -> None:
        self.holding[order], self.status[order] = wallet, "pending"

    def let_go(self, order: str) -> None:
        wallet = self.holding.pop(order)
        del self.status[order]
        if wallet in self.retiring:
            self.retiring.remove(wallet)
            self.retired.append(wallet)
        else:
            self.take_in(wallet)


def lifecycle(
    seed: int,
    events: int,
    currencies: Sequence[str] = CURRENCIES,
    wallets: int = 20,
    pressure: float = 1.5,
    respelt: float = 0.2,
) -> Iterator[Message]:
    """Exactly `events` messages of good traffic in some currencies of the shipped catalogue.

    Each pool begins with `wallets` wallets. Busy and quiet times of `PHASE` events for each pool take turns:
    in a busy one about `wallets` × `pressure` orders of a pool live at a time, so that above 1 some wait;
    in a quiet one about half as many as there are wallets. A share `respelt` of the events about wallets spells the
    address in another of its forms.
    """
    rng = random.Random(seed)
    pools = [_Pool(currency, network) for currency in currencies for network in SHIPPED[currency].networks]
    stream = _Stream(rng, respelt)
    first = [(pool, address(pool.network, rng)) for _ in range(wallets) for pool in pools]
    for pool, wallet in first[:events]:
        pool.take_in(wallet)
        yield stream.wallet("wallet_added", pool, wallet)
    for number in range(events - len(first)):
        busy = number // (PHASE * len(pools)) % 2 == 0
        yield _step(stream, rng.choice(pools), wallets * (pressure if busy else 0.5))


def _step(stream: "_Stream", pool: _Pool, target: float) -> Message:
    rng, dice = stream.rng, stream.rng.random()
    living = len(pool.holding) + len(pool.waiting)
    if dice < 0.01:
        return _change_wallets(stream, pool)
    if living == 0 or rng.random() < (0.45 if living < target else 0.15):
        return _new_order(stream, pool)
    if pool.waiting and (dice < 0.05 or not pool.holding):
        order = pool.waiting[rng.randrange(len(pool.waiting))]
        pool.waiting.remove(order)
        return stream.ends(pool, order, "cancelled", rng.choice(["payment_timeout", "client_request"]))
    return _advance(stream, pool, rng.choice(list(pool.holding)))


def _new_order(stream: "_Stream", pool: _Pool) -> Message:
    order = stream.next_order()
    if pool.free:
        pool.hold(order, pool.free.popleft())
    else:
        pool.waiting.append(order)
    return stream.pending(pool, order)


def _advance(stream: "_Stream", pool: _Pool, order: str) -> Message:
    status, dice = pool.status[order], stream.rng.random()
    if status == "pending" and dice < 0.6:
        pool.status[order] = "paid"
        return stream.status(pool, order, "paid")
    if status == "paid" and dice < 0.6:
        pool.status[order] = "processing"
        return stream.status(pool, order, "processing")
    pool.let_go(order)
    if status == "pending":
        return stream.ends(pool, order, "cancelled", "payment_timeout" if dice < 0.9 else "incorrect_data")
    if dice < 0.95:
        return stream.ends(pool, order, "completed")
    return stream.ends(pool, order, "failed", "technical_issue")


def _change_wallets(stream: "_Stream", pool: _Pool) -> Message:
    """One leaves, one that had left comes back, or a new one comes; about as many leave as come."""
    rng = stream.rng
    if pool.retired and rng.random() < 0.5:
        returning = pool.retired.pop(rng.randrange(len(pool.retired)))
        pool.take_in(returning)
        return stream.wallet("wallet_added", pool, returning)
    occupied = [wallet for wallet in pool.holding.values() if wallet not in pool.retiring]
    if rng.random() < 0.2 or not (pool.free or occupied):
        new = address(pool.network, rng)
        pool.take_in(new)
        return stream.wallet("wallet_added", pool, new)
    leaving = rng.choice([*pool.free, *occupied])
    if leaving in occupied:
        pool.retiring.add(leaving)
    else:
        pool.free.remove(leaving)
        pool.retired.append(leaving)
    return stream.wallet("wallet_retired", pool, leaving)


class _Stream:
    """Numbers and words the events."""

    def __init__(self, rng: random.Random, respelt: float) -> None:
        self.rng = rng
        self.respelt = respelt
        self.events = 0
        self.orders = 0

    def next_order(self) -> str:
        self.orders += 1
        return f"ord-{self.orders:07d}"

    def pending(self, pool: _Pool, order: str) -> Message:
        event = self._status_event(pool, order, "pending")
        event["amount"] = amount(pool.currency, self.rng)
        event["recipient"] = {"email": f"{order}@example.com", "locale": self.rng.choice(LOCALES)}
        if len(SHIPPED[pool.currency].networks) > 1 or self.rng.random() < 0.5:
            event["network"] = pool.network
        if self.rng.random() < 0.5:
            event["expires_at"] = moment(self.events, minutes=90)
        return self._send(event)

    def status(self, pool: _Pool, order: str, status: str) -> Message:
        return self._send(self._status_event(pool, order, status))

    def ends(self, pool: _Pool, order: str, status: str, reason: str | None = None) -> Message:
        event = self._status_event(pool, order, status)
        if reason is not None:
            event |= {"reason": reason, "actor": "clock" if reason == "payment_timeout" else "operator:kim"}
        return self._send(event)

    def wallet(self, kind: str, pool: _Pool, wallet: str) -> Message:
        event = self._event(kind, pool)
        respelt = self.rng.random() < self.respelt
        event["address"] = addresses.respelt(pool.network, wallet, self.rng) if respelt else wallet
        if len(SHIPPED[pool.currency].networks) > 1 or self.rng.random() < 0.5:
            event["network"] = pool.network
        return self._send(event)

    def _event(self, kind: str, pool: _Pool) -> dict[str, object]:
        self.events += 1
        return {
            "type": kind,
            "event_id": uuid_text(self.rng),
            "currency": pool.currency,
            "occurred_at": moment(self.events),
        }

    def _status_event(self, pool: _Pool, order: str, status: str) -> dict[str, object]:
        return self._event("order_status_changed", pool) | {"order_id": order, "status": status}

    def _send(self, event: dict[str, object]) -> Message:
        if self.rng.random() < 0.1:
            trace, span = self.rng.getrandbits(128), self.rng.getrandbits(64)
            return keyed(event, (("traceparent", f"00-{trace:032x}-{span:016x}-01".encode()),))
        return keyed(event)


def amount(currency: str, rng: random.Random) -> str:
    """An amount within the currency's limits, in two to all of its decimals."""
    known = SHIPPED[currency]
    unit = Decimal(1).scaleb(-known.decimals)
    least, most = int(known.smallest / unit), int(known.largest / unit)
    return f"{rng.randint(least, most) * unit:f}"
