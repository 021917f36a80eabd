"""The simulated PostgreSQL: the allocator's tables, the partition's row lock, and sessions that break.

Each call is a transaction: it sees what is committed, and where it waits for a row it looks at it again when it gets it
(read committed). Source: PostgreSQL's documentation, "Transaction Isolation".
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import asyncpg

from consumers.allocator.needs import Needs, many_waiting
from consumers.allocator.state import (
    Assignment,
    Changes,
    KeptDeadLetter,
    Notification,
    Order,
    OrderKey,
    Pool,
    State,
    Step,
    Wallet,
    WalletKey,
)
from consumers.places import Place
from schemas.catalogue import Catalogue
from tests.kept import changed_order, changed_wallet, found_order, found_wallet
from tests.simulation.events import POISON
from tests.simulation.process import Process, Result, Work

COMMAND_SECONDS = 30.0
Partition = tuple[str, int]
Row = tuple[str, Any]
"A table's name, and a key in it."


@dataclass(frozen=True)
class PlaceRow:
    """A row of `partitions`."""

    partition_count: int
    cluster_id: str
    next_offset: int = 0
    published_offset: int = 0
    counts: tuple[int, ...] = (0, 0, 0, 0, 0)


@dataclass
class Database:
    """What is committed, and who holds which row of `partitions`."""

    places: dict[Partition, PlaceRow] = field(default_factory=dict)
    catalogues: dict[tuple[str, int, int], Catalogue] = field(default_factory=dict)
    orders: dict[OrderKey, Order] = field(default_factory=dict)
    wallets: dict[WalletKey, Wallet] = field(default_factory=dict)
    assignments: dict[tuple[int, int], Assignment] = field(default_factory=dict)
    dead_letters: dict[tuple[str, int, int], KeptDeadLetter] = field(default_factory=dict)
    _locks: dict[Partition, "Transaction"] = field(default_factory=dict)
    _unlocked: asyncio.Event = field(default_factory=asyncio.Event)

    async def lock(self, at: Partition, transaction: "Transaction") -> None:
        """Wait until no other transaction holds the row."""
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                while self._locks.get(at, transaction) is not transaction:
                    await self._unlocked.wait()
        except TimeoutError:
            raise asyncio.TimeoutError("the row stays locked") from None
        if transaction.over:
            raise asyncpg.InterfaceError("connection was closed in the middle of operation")
        self._locks[at] = transaction

    def unlock(self, transaction: "Transaction") -> None:
        """Whoever waits may try again."""
        for at in [at for at, holder in self._locks.items() if holder is transaction]:
            del self._locks[at]
        self._unlocked.set()
        self._unlocked = asyncio.Event()


class Transaction:
    """What a call has written and not yet committed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: dict[Row, Any] = {}
        self.over = False

    def get(self, table: str, key: Any) -> Any:
        """The row as this transaction sees it."""
        return self._written.get((table, key)) or getattr(self._database, table).get(key)

    def rows(self, table: str) -> Iterable[Any]:
        """All rows of a table as this transaction sees them."""
        own = {key: row for (name, key), row in self._written.items() if name == table}
        return {**getattr(self._database, table), **own}.values()

    def insert(self, table: str, key: Any, row: Any) -> None:
        """Raises UniqueViolationError where the key is there already."""
        if self.get(table, key) is not None:
            raise asyncpg.UniqueViolationError(f"{table} has {key} already")
        self.put(table, key, row)

    def put(self, table: str, key: Any, row: Any) -> None:
        self._written[table, key] = row

    def commit(self) -> None:
        """All of it is seen from now on."""
        for (table, key), row in self._written.items():
            getattr(self._database, table)[key] = row
        self.end()

    def end(self) -> None:
        """Nothing of it will ever be seen where it is not committed."""
        self.over = True
        self._database.unlock(self)


class SimulatedSession:
    """A process's session; see ports.Session."""

    def __init__(self, process: Process, database: Database) -> None:
        self._process = process
        self._database = database
        self._open = True
        process.sessions.add(self)

    async def take_place(self, topic: str, partition: int, partition_count: int, cluster_id: str) -> Place:
        at = (topic, partition)

        async def take(transaction: Transaction) -> Place:
            await self._database.lock(at, transaction)
            if at not in self._database.places:
                for (name, _), other in self._database.places.items():
                    if name == topic and (other.partition_count, other.cluster_id) != (partition_count, cluster_id):
                        return Place(other.partition_count, other.cluster_id, 0, 0)
                transaction.insert("places", at, PlaceRow(partition_count, cluster_id))
            row = transaction.get("places", at)
            recorded = [(key[2], found.sha256) for key, found in self._database.catalogues.items() if key[:2] == at]
            latest = max(recorded)[1] if recorded else None
            return Place(row.partition_count, row.cluster_id, row.next_offset, row.published_offset, latest)

        return await self._write("take_place", take)

    async def note_published(self, topic: str, partition: int, published_offset: int) -> None:
        at = (topic, partition)

        async def note(transaction: Transaction) -> None:
            await self._database.lock(at, transaction)
            row: PlaceRow = transaction.get("places", at)
            if row.published_offset < published_offset <= row.next_offset:
                transaction.put("places", at, replace(row, published_offset=published_offset))

        await self._write("note_published", note)

    async def gather(self, topic: str, partition: int, needs: Needs) -> tuple[int, State]:
        async def read(seen: Transaction) -> tuple[int, State]:
            return seen.get("places", (topic, partition)).next_offset, _gather(seen, needs)

        return await self._read("gather", read)

    async def apply(self, topic: str, partition: int, step: Step) -> bool:
        at = (topic, partition)

        async def write(transaction: Transaction) -> bool:
            await self._database.lock(at, transaction)
            row: PlaceRow = transaction.get("places", at)
            if row.next_offset != step.start:
                return False
            moved = replace(
                row,
                next_offset=step.end,
                published_offset=max(row.published_offset, step.published_offset),
                counts=tuple(before + more for before, more in zip(row.counts, step.changes.counts, strict=True)),
            )
            transaction.put("places", at, _checked(moved))
            if step.catalogue is not None:
                transaction.insert("catalogues", (topic, partition, step.start), step.catalogue)
            _write(transaction, partition, step.changes)
            for dead_letter in step.dead_letters:
                transaction.insert("dead_letters", (topic, partition, dead_letter.offset), dead_letter)
            return True

        return await self._write("apply", write)

    async def unpublished_notifications(
        self, partition: int, start: int, end: int, most: int
    ) -> Sequence[Notification]:
        async def read(_seen: Transaction) -> list[Notification]:
            made = [
                assignment
                for (number, offset), assignment in sorted(self._database.assignments.items())
                if number == partition and start <= offset < end
            ]
            orders = [self._database.orders[assignment.currency, assignment.order_id] for assignment in made[:most]]
            return [
                Notification(assignment, order.amount or "", order.expires_at, order.traceparent)  # type: ignore[arg-type]
                for assignment, order in zip(made, orders, strict=False)
            ]

        return await self._read("unpublished_notifications", read)

    async def unpublished_dead_letters(
        self, topic: str, partition: int, start: int, end: int, most: int
    ) -> Sequence[KeptDeadLetter]:
        async def read(_seen: Transaction) -> list[KeptDeadLetter]:
            return [
                kept
                for at, kept in sorted(self._database.dead_letters.items(), key=lambda item: item[0])
                if at[:2] == (topic, partition) and start <= at[2] < end
            ][:most]

        return await self._read("unpublished_dead_letters", read)

    def terminate(self) -> None:
        self._open = False
        self._process.sessions.discard(self)

    # Calls

    async def _read(self, name: str, read: Callable[[Transaction], Awaitable[Result]]) -> Result:
        async def work() -> Result:
            return await read(Transaction(self._database))

        return await self._call(name, work)

    async def _write(self, name: str, write: Callable[[Transaction], Awaitable[Result]]) -> Result:
        async def work() -> Result:
            transaction = Transaction(self._database)
            try:
                result = await write(transaction)
                transaction.commit()
            finally:
                transaction.end()
            self._process.world.committed()
            return result

        return await self._call(name, work, late=lambda: self._late(work, write))

    def _late(self, work: Work[Result], write: Callable[[Transaction], Awaitable[Result]]) -> Work[object]:
        """What the server does when the session has broken: all of it, or the rest where it holds the lock already."""
        if self._process.world.chance.random() < 0.5:
            return work
        begun = Transaction(self._database)
        writing = asyncio.ensure_future(write(begun))

        async def finish() -> None:
            try:
                await writing
                begun.commit()
            finally:
                begun.end()
            self._process.world.committed()

        return finish

    async def _call(self, name: str, work: Work[Result], late: Callable[[], Work[object]] | None = None) -> Result:
        self._check_open()

        async def answered() -> Result:
            self._check_open()
            return await work()

        def reached(late: Callable[[], Work[object]]) -> Work[object]:
            self._check_open()
            return late()

        after = None if late is None else partial(reached, late)
        result = await self._process.call(name, answered, late=after, error=self._broken)
        self._check_open()
        return result

    def _check_open(self) -> None:
        if not self._open:
            raise asyncpg.InterfaceError("connection is closed")

    def _broken(self) -> Exception:
        self.terminate()
        return ConnectionResetError("simulated")


def _gather(seen: Transaction, needs: Needs) -> State:
    named = {key: order for key in needs.orders if (order := seen.get("orders", key))}
    keys = [*needs.wallets, *((*_pool(order), order.address) for order in named.values() if order.address)]
    state = State(
        {key: found_order(order) for key, order in named.items()},
        {key: found_wallet(wallet) for key in keys if (wallet := seen.get("wallets", key))},
        {},
        {},
    )
    for pool, most in many_waiting(needs, state.orders).items():
        waiting = [o for o in seen.rows("orders") if o.queue_place is not None and _pool(o) == pool]
        for order in sorted(waiting, key=lambda order: order.queue_place or 0)[:most]:
            state.orders[order.currency, order.order_id] = found_order(order)
            state.waiting.setdefault(pool, []).append(order.order_id)
    for pool, most in needs.free.items():
        free = [w for w in seen.rows("wallets") if w.free_place is not None and _pool(w) == pool]
        for wallet in sorted(free, key=lambda wallet: wallet.free_place or 0)[:most]:
            state.wallets[*pool, wallet.address] = found_wallet(wallet)
            state.free.setdefault(pool, []).append(wallet.address)
    return state


def _write(transaction: Transaction, partition: int, changes: Changes) -> None:
    for order in changes.new_orders:
        if order.order_id.startswith(POISON):
            raise asyncpg.DataError("simulated")
        transaction.insert("orders", (order.currency, order.order_id), order)
    for order in changes.changed_orders:
        key = (order.currency, order.order_id)
        if (known := transaction.get("orders", key)) is not None:
            transaction.put("orders", key, changed_order(known, order))
    for wallet in changes.new_wallets:
        transaction.insert("wallets", (*_pool(wallet), wallet.address), wallet)
    for wallet in changes.changed_wallets:
        name = (*_pool(wallet), wallet.address)
        if (has := transaction.get("wallets", name)) is not None:
            transaction.put("wallets", name, changed_wallet(has, wallet))
    for assigned_offset, released_offset, released_at in changes.releases:
        made = transaction.get("assignments", (partition, assigned_offset))
        if made is not None and made.released_offset is None:
            ended = made._replace(released_offset=released_offset, released_at=released_at)
            transaction.put("assignments", (partition, assigned_offset), ended)
    for made in changes.assignments:
        _check_only_one(made, transaction.rows("assignments"))
        transaction.insert("assignments", (partition, made.assigned_offset), made)


def _pool(row: Order | Wallet) -> Pool:
    return row.currency, row.network or ""


def _checked(row: PlaceRow) -> PlaceRow:
    if row.published_offset > row.next_offset:
        raise asyncpg.CheckViolationError("nothing_is_published_before_it_is_applied")
    return row


def _check_only_one(made: Assignment, others: Iterable[Assignment]) -> None:
    wallet = (made.currency, made.network, made.address)
    for other in others:
        if (other.currency, other.order_id) == (made.currency, made.order_id):
            raise asyncpg.UniqueViolationError("order_has_one_assignment")
        both_open = made.released_offset is None and other.released_offset is None
        if both_open and (other.currency, other.network, other.address) == wallet:
            raise asyncpg.UniqueViolationError("wallet_has_one_open_assignment")
