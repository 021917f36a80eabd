"""A log that keeps queues at one length: an order that ends lets the oldest of its queue in, and another joins."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.log import Assigned, Log, OrderKey
from schemas.catalogue import read_catalogue
from tests.traffic import Message, address
from tests.traffic.messages import keyed, moment, uuid_text

WALLETS = 100
"Of each pool."
EVENTS_OF_ORDER = 3


class Pool(NamedTuple):
    """One queue."""

    currency: str
    network: str
    amount: str
    addresses_like: str
    "The network whose kind of address it has."


class Queues(NamedTuple):
    """A log, and where the part begins that is measured: before it the queues are filled."""

    log: Log
    begin: int


def shipped_pools() -> Sequence[Pool]:
    """Those of the shipped catalogue."""
    catalogue = read_catalogue()
    return [
        Pool(currency, network, str(catalogue.currencies[currency].min_amount), network)
        for currency, network in catalogue.pools()
    ]


def pools_of(currencies: int) -> Sequence[Pool]:
    """As many currencies, of one network each; see `write_catalogue`."""
    return [Pool(f"C{number:03}", "chain", "1", "ethereum") for number in range(currencies)]


def write_catalogue(pools: Sequence[Pool], path: Path) -> Path:
    """A catalogue with these pools, as WALLETQ_CATALOGUE takes it."""
    lines = ["expiry_minutes = 90"]
    for pool in pools:
        lines += [
            f"[currencies.{pool.currency}]",
            f'name = "{pool.currency}"',
            "decimals = 8",
            'min_amount = "1"',
            'max_amount = "9"',
            "critical_free = 0",
            "cool_down_minutes = 0",
            f'networks.{pool.network} = {{ address = "{pool.addresses_like}" }}',
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


class Traffic:
    """Events that fill the queues of the pools, and then go through them for as long as wanted.

    What must come of them needs no model: the n-th order of a pool gets the wallet n modulo their number, in order.

    Attributes:
        assigned: all that the events so far must lead to.
    """

    def __init__(self, pools: Sequence[Pool], *, waiting: int, seed: int) -> None:
        """Args:
        pools: they take turns.
        waiting: orders, in all queues together; at least one in each.
        seed: of ids and addresses.
        """
        self._pools = pools
        self._rng = random.Random(f"queues of {seed}")
        self._addresses = {
            pool: [address(pool.addresses_like, self._rng) for _ in range(WALLETS)] for pool in self._pools
        }
        self._length = max(1, waiting // len(pools))
        self._cycles = 0
        self._sent = 0
        self._made: list[Message] = []
        self.assigned: dict[OrderKey, Assigned] = {}

    def fill(self) -> Sequence[Message]:
        """Orders, and then the wallets that the first of them get."""
        for number in range(WALLETS + self._length):
            for pool in self._pools:
                self._join(pool, number)
        for number in range(WALLETS):
            for pool in self._pools:
                self._send(pool, "wallet_added", address=self._addresses[pool][number])
                self._serve(pool, number)
        return self._taken()

    def take(self, events: int) -> Sequence[Message]:
        """So many events, up to a whole order: one is paid, another joins, the paid one ends, the oldest is served."""
        for cycle in range(self._cycles, self._cycles + -(-events // EVENTS_OF_ORDER)):
            number, pool = cycle // len(self._pools), self._pools[cycle % len(self._pools)]
            self._order(pool, number, "paid")
            self._join(pool, WALLETS + self._length + number)
            self._order(pool, number, "completed")
            self._serve(pool, WALLETS + number)
            self._cycles = cycle + 1
        return self._taken()

    def _taken(self) -> Sequence[Message]:
        made, self._made = self._made, []
        return made

    def _send(self, pool: Pool, kind: str, **fields: object) -> None:
        document = {
            "type": kind,
            "event_id": uuid_text(self._rng),
            "currency": pool.currency,
            "network": pool.network,
            "occurred_at": moment(0),
        }
        self._made.append(keyed(document | fields))
        self._sent += 1

    def _order(self, pool: Pool, number: int, status: str, **fields: object) -> None:
        self._send(pool, "order_status_changed", order_id=_order_id(pool, number), status=status, **fields)

    def _join(self, pool: Pool, number: int) -> None:
        self._order(pool, number, "pending", amount=pool.amount, recipient={"email": f"customer{number}@example.com"})

    def _serve(self, pool: Pool, number: int) -> None:
        address_of = self._addresses[pool][number % WALLETS]
        key = pool.currency, _order_id(pool, number)
        self.assigned[key] = Assigned(pool.network, address_of, waited=True, cause=self._sent - 1)


def queues(pools: Sequence[Pool], *, waiting: int, events: int, seed: int) -> Queues:
    """Fill the queues of the pools with so many orders in all, then let so many events go through them."""
    traffic = Traffic(pools, waiting=waiting, seed=seed)
    filling = traffic.fill()
    return Queues(Log([*filling, *traffic.take(events)], traffic.assigned), len(filling))


def _order_id(pool: Pool, number: int) -> str:
    return f"{pool.currency}-{pool.network}-{number}"
