"""The allocator's state in memory: the batches of a log, gathered, decided and applied without a server."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from consumers.allocator.decide import decide
from consumers.allocator.needs import many_waiting, needs_of
from consumers.allocator.reading import Reader
from consumers.allocator.state import (
    Assignment,
    Changes,
    DeadLetter,
    Entry,
    Notification,
    Order,
    OrderKey,
    Pool,
    State,
    Wallet,
    WalletKey,
)
from schemas.catalogue import Catalogue, read_catalogue
from tests.kept import changed_order, changed_wallet, found_order, found_wallet
from tests.reference import PARTITIONS, SHIPPED, Record
from tests.reference import Catalogue as ReferenceCatalogue

TOPIC = "order-status"


@dataclass
class Memory:
    """Everything that the log has led to. Each partition keeps to its own currencies, so one memory serves all."""

    catalogue: Catalogue
    orders: dict[OrderKey, Order] = field(default_factory=dict)
    wallets: dict[WalletKey, Wallet] = field(default_factory=dict)
    assignments: dict[tuple[int, int], Assignment] = field(default_factory=dict)
    dead_letters: list[tuple[int, DeadLetter]] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0] * 5)

    def take(self, partition: int, records: Sequence[Record]) -> Changes:
        """Process one batch, as an owner does."""
        reader = Reader(self.catalogue, partition, PARTITIONS)
        entries = [reader.read(_AsFetched(record)) for record in records]
        state = self.gather(entries)
        before = repr(state)
        changes = decide(state, entries, self.catalogue, TOPIC, partition)
        assert repr(state) == before, "decide changed the state that it was given"
        self.apply(partition, changes)
        return changes

    def gather(self, entries: Sequence[Entry]) -> State:
        """As the database's reads: what is named, and no more of a queue than the batch can use."""
        needs = needs_of(entries)
        orders = {key: found_order(self.orders[key]) for key in needs.orders if key in self.orders}
        names = [name for name in needs.wallets if name in self.wallets]
        names += [(o.currency, o.network, o.address) for o in orders.values() if o.network and o.address]
        free = {pool: self.free(pool)[:many] for pool, many in needs.free.items()}
        waiting = {pool: self.waiting(pool)[:many] for pool, many in many_waiting(needs, orders).items()}
        names += [(*pool, name) for pool, addresses in free.items() for name in addresses]
        keys = [(pool[0], order_id) for pool, order_ids in waiting.items() for order_id in order_ids]
        orders |= {key: found_order(self.orders[key]) for key in keys}
        return State(orders, {name: found_wallet(self.wallets[name]) for name in names}, free, waiting)

    def apply(self, partition: int, changes: Changes) -> None:
        """As the transaction's writes, with the constraints that the tables have."""
        for order in changes.new_orders:
            assert self.orders.setdefault((order.currency, order.order_id), order) is order
        for order in changes.changed_orders:
            key = (order.currency, order.order_id)
            self.orders[key] = changed_order(self.orders[key], order)
        for wallet in changes.new_wallets:
            assert self.wallets.setdefault((wallet.currency, wallet.network, wallet.address), wallet) is wallet
        for wallet in changes.changed_wallets:
            name = (wallet.currency, wallet.network, wallet.address)
            self.wallets[name] = changed_wallet(self.wallets[name], wallet)
        for release in changes.releases:
            assignment = self.assignments[partition, release.assigned_offset]
            assert assignment.released_offset is None
            self.assignments[partition, release.assigned_offset] = assignment._replace(
                released_offset=release.released_offset, released_at=release.released_at
            )
        for assignment in changes.assignments:
            assert self.assignments.setdefault((partition, assignment.assigned_offset), assignment) is assignment
        self.dead_letters += [(partition, dead_letter) for dead_letter in changes.dead_letters]
        self.notifications += changes.notifications
        self.counts = [total + more for total, more in zip(self.counts, changes.counts, strict=True)]

    def free(self, pool: Pool) -> list[str]:
        """The free wallets of a pool, oldest place first."""
        found = [(w.free_place, w.address) for w in self.wallets.values() if (w.currency, w.network) == pool]
        return [address for place, address in sorted(f for f in found if f[0] is not None)]

    def waiting(self, pool: Pool) -> list[str]:
        """The waiting orders of a pool, oldest first."""
        found = [(o.queue_place, o.order_id) for o in self.orders.values() if (o.currency, o.network) == pool]
        return [order_id for place, order_id in sorted(f for f in found if f[0] is not None)]


class _AsFetched:
    """A record of the reference model as a consumer has it."""

    headers = ()

    def __init__(self, record: Record) -> None:
        self.offset = record.offset
        self.timestamp = record.timestamp_ms
        self.key = record.key
        self.value = record.value


def of(catalogue: ReferenceCatalogue = SHIPPED) -> Memory:
    """An empty memory under the same catalogue as the reference model's."""
    content = read_catalogue().model_dump(mode="json")
    for code, currency in catalogue.items():
        content["currencies"][code]["cool_down_minutes"] = currency.cooldown_minutes
    return Memory(Catalogue.model_validate(content))


def by_partition(records: Iterable[Record]) -> dict[int, list[Record]]:
    """The records of each partition, in offset order."""
    partitions: dict[int, list[Record]] = {}
    for record in records:
        partitions.setdefault(record.partition, []).append(record)
    return partitions
