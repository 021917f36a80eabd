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


def queues(pools: Sequence[Pool], *, waiting: int, events: int, seed: int) -> Queues:
    """Fill the queues of the pools with so many orders in all, then let so many events go through them.

    What must come of it needs no model: the n-th order of a pool gets the wallet n modulo their number, in order.
    """
    rng = random.Random(f"queues of {seed}")
    addresses = {pool: [address(pool.addresses_like, rng) for _ in range(WALLETS)] for pool in pools}
    length = max(1, waiting // len(pools))
    messages: list[Message] = []
    assigned: dict[OrderKey, Assigned] = {}

    def send(pool: Pool, kind: str, **fields: object) -> None:
        document = {
            "type": kind,
            "event_id": uuid_text(rng),
            "currency": pool.currency,
            "network": pool.network,
            "occurred_at": moment(0),
        }
        messages.append(keyed(document | fields))

    def order(pool: Pool, number: int, status: str, **fields: object) -> None:
        send(pool, "order_status_changed", order_id=_order_id(pool, number), status=status, **fields)

    def join(pool: Pool, number: int) -> None:
        order(pool, number, "pending", amount=pool.amount, recipient={"email": f"customer{number}@example.com"})

    def serve(pool: Pool, number: int) -> None:
        key = pool.currency, _order_id(pool, number)
        assigned[key] = Assigned(pool.network, addresses[pool][number % WALLETS], waited=True, cause=len(messages) - 1)

    for number in range(WALLETS + length):
        for pool in pools:
            join(pool, number)
    for number in range(WALLETS):
        for pool in pools:
            send(pool, "wallet_added", address=addresses[pool][number])
            serve(pool, number)
    begin = len(messages)
    for cycle in range(-(-events // EVENTS_OF_ORDER)):
        number, pool = cycle // len(pools), pools[cycle % len(pools)]
        order(pool, number, "paid")
        join(pool, WALLETS + length + number)
        order(pool, number, "completed")
        serve(pool, WALLETS + number)
    return Queues(Log(messages, assigned), begin)


def _order_id(pool: Pool, number: int) -> str:
    return f"{pool.currency}-{pool.network}-{number}"
