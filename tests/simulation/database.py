"""The simulated PostgreSQL: the allocator's tables, the partition's row lock, transactions, and sessions that break.

A transaction sees what was committed at its first call, and moves no row that has changed since (repeatable read). A
call outside of one sees what is committed then, and where it waits for a row looks at it again when it gets it (read
committed). Source: PostgreSQL's documentation, "Transaction Isolation".
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import asyncpg

from consumers.allocator.state import (
    Assignment,
    Counts,
    KeptDeadLetter,
    Notification,
    Order,
    OrderKey,
    Pool,
    Release,
    Wallet,
    WalletKey,
)
from consumers.places import Place
from schemas.catalogue import Catalogue
from storage.database import IDLE_IN_TRANSACTION_MS
from tests.simulation.events import POISON
from tests.simulation.process import Process, Result, Work

COMMAND_SECONDS = 30.0
Partition = tuple[str, int]
Row = tuple[str, Any]
"A table's name, and a key in it."
TABLES = ("places", "catalogues", "orders", "wallets", "assignments", "dead_letters")


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
    """What a session has written and not yet committed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: dict[Row, Any] = {}
        self._seen: dict[str, dict[Any, Any]] = {}
        "The tables as they were at the first call."
        self.over = False

    def look(self) -> None:
        """From now on it sees what is committed now; said again, it changes nothing."""
        if not self._seen:
            self._seen = {table: dict(getattr(self._database, table)) for table in TABLES}

    def get(self, table: str, key: Any) -> Any:
        """The row as this transaction sees it."""
        return self._written.get((table, key)) or self._table(table).get(key)

    def rows(self, table: str) -> Iterable[Any]:
        """All rows of a table as this transaction sees them."""
        own = {key: row for (name, key), row in self._written.items() if name == table}
        return {**self._table(table), **own}.values()

    def has_written(self, table: str, key: Any) -> bool:
        """Whether it has written the row."""
        return (table, key) in self._written

    def is_stale(self, table: str, key: Any) -> bool:
        """Whether the row has been changed by somebody else since the first call."""
        return self._table(table).get(key) is not getattr(self._database, table).get(key)

    def _table(self, table: str) -> dict[Any, Any]:
        committed: dict[Any, Any] = self._seen[table] if self._seen else getattr(self._database, table)
        return committed

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
        self._transaction: Transaction | None = None
        self._calls = 0
        process.sessions.add(self)

    # Transactions

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        await self._call("begin", self._begin)
        try:
            yield
        except BaseException:
            await self._call("rollback", self._roll_back)
            raise
        await self._call("commit", self._commit, late=self._commit_late)

    async def _begin(self) -> None:
        self._transaction = Transaction(self._database)

    async def _roll_back(self) -> None:
        if self._transaction is not None:
            self._transaction.end()
            self._transaction = None

    async def _commit(self) -> None:
        transaction, self._transaction = self._transaction, None
        assert transaction is not None
        transaction.commit()
        self._process.world.committed()

    def _commit_late(self) -> Work[object]:
        """The server has the commit, and holds the locks until it has done it; the session breaks meanwhile."""
        transaction, self._transaction = self._transaction, None
        assert transaction is not None

        async def commit() -> None:
            transaction.commit()
            self._process.world.committed()

        return commit

    # Statements

    async def take_place(self, topic: str, partition: int, partition_count: int, cluster_id: str) -> Place:
        at = (topic, partition)

        async def take(transaction: Transaction) -> Place:
            await self._database.lock(at, transaction)
            if at not in self._database.places:
                transaction.insert("places", at, PlaceRow(partition_count, cluster_id))
            row = transaction.get("places", at)
            recorded = [(key[2], found.sha256) for key, found in self._database.catalogues.items() if key[:2] == at]
            latest = max(recorded)[1] if recorded else None
            return Place(row.partition_count, row.cluster_id, row.next_offset, row.published_offset, latest)

        return await self._write("take_place", take)

    async def advance(
        self, topic: str, partition: int, start: int, end: int, published_offset: int, counts: Counts
    ) -> bool:
        at = (topic, partition)

        async def move(transaction: Transaction) -> bool:
            await self._database.lock(at, transaction)
            row: PlaceRow = transaction.get("places", at)
            if row.next_offset != start or transaction.is_stale("places", at):
                if not transaction.has_written("places", at):
                    self._database.unlock(transaction)  # a row that does not match stays unlocked
                return False
            moved = replace(
                row,
                next_offset=end,
                published_offset=max(row.published_offset, published_offset),
                counts=tuple(before + more for before, more in zip(row.counts, counts, strict=True)),
            )
            transaction.put("places", at, _checked(moved))
            return True

        return await self._write("advance", move)

    async def note_published(self, topic: str, partition: int, published_offset: int) -> None:
        at = (topic, partition)

        async def note(transaction: Transaction) -> None:
            await self._database.lock(at, transaction)
            row: PlaceRow = transaction.get("places", at)
            if row.published_offset < published_offset <= row.next_offset:
                transaction.put("places", at, replace(row, published_offset=published_offset))

        await self._write("note_published", note)

    async def record_catalogue(self, topic: str, partition: int, from_offset: int, catalogue: Catalogue) -> None:
        async def record(transaction: Transaction) -> None:
            transaction.insert("catalogues", (topic, partition, from_offset), catalogue)

        await self._write("record_catalogue", record)

    async def orders_named(self, keys: Sequence[OrderKey]) -> Sequence[tuple[Order, Wallet | None]]:
        async def read(seen: Transaction) -> list[tuple[Order, Wallet | None]]:
            orders = [order for key in keys if (order := seen.get("orders", key))]
            return [
                (order, seen.get("wallets", (order.currency, order.network or "", order.address or "")))
                for order in orders
            ]

        return await self._read("orders_named", read)

    async def wallets_named(self, keys: Sequence[WalletKey]) -> Sequence[Wallet]:
        async def read(seen: Transaction) -> list[Wallet]:
            return [wallet for key in keys if (wallet := seen.get("wallets", key))]

        return await self._read("wallets_named", read)

    async def first_free(self, many: Counter[Pool]) -> Sequence[Wallet]:
        async def read(seen: Transaction) -> list[Wallet]:
            found: list[Wallet] = []
            for pool, most in many.items():
                free = [w for w in seen.rows("wallets") if w.free_place is not None and _pool(w) == pool]
                found += sorted(free, key=lambda wallet: wallet.free_place or 0)[:most]
            return found

        return await self._read("first_free", read)

    async def first_waiting(self, many: Counter[Pool]) -> Sequence[Order]:
        async def read(seen: Transaction) -> list[Order]:
            found: list[Order] = []
            for pool, most in many.items():
                waiting = [o for o in seen.rows("orders") if o.queue_place is not None and _pool(o) == pool]
                found += sorted(waiting, key=lambda order: order.queue_place or 0)[:most]
            return found

        return await self._read("first_waiting", read)

    async def insert_orders(self, orders: Sequence[Order]) -> None:
        async def insert(transaction: Transaction) -> None:
            for order in orders:
                if order.order_id.startswith(POISON):
                    raise asyncpg.DataError("simulated")
                transaction.insert("orders", (order.currency, order.order_id), order)

        await self._write("insert_orders", insert)

    async def update_orders(self, orders: Sequence[Order]) -> None:
        async def update(transaction: Transaction) -> None:
            for order in orders:
                key = (order.currency, order.order_id)
                if (known := transaction.get("orders", key)) is not None:
                    stays = {name: getattr(known, name) for name in ("email", "locale", "expires_at", "traceparent")}
                    transaction.put("orders", key, replace(order, **stays))

        await self._write("update_orders", update)

    async def insert_wallets(self, wallets: Sequence[Wallet]) -> None:
        async def insert(transaction: Transaction) -> None:
            for wallet in wallets:
                transaction.insert("wallets", (*_pool(wallet), wallet.address), wallet)

        await self._write("insert_wallets", insert)

    async def update_wallets(self, wallets: Sequence[Wallet]) -> None:
        async def update(transaction: Transaction) -> None:
            for wallet in wallets:
                if transaction.get("wallets", (*_pool(wallet), wallet.address)) is not None:
                    transaction.put("wallets", (*_pool(wallet), wallet.address), wallet)

        await self._write("update_wallets", update)

    async def close_assignments(self, partition: int, releases: Sequence[Release]) -> None:
        async def close(transaction: Transaction) -> None:
            for assigned_offset, released_offset, released_at in releases:
                made = transaction.get("assignments", (partition, assigned_offset))
                if made is not None and made.released_offset is None:
                    ended = made._replace(released_offset=released_offset, released_at=released_at)
                    transaction.put("assignments", (partition, assigned_offset), ended)

        await self._write("close_assignments", close)

    async def insert_assignments(self, partition: int, assignments: Sequence[Assignment]) -> None:
        async def insert(transaction: Transaction) -> None:
            for made in assignments:
                if made.released_offset is None:
                    _check_only_open_one(made, transaction.rows("assignments"))
                transaction.insert("assignments", (partition, made.assigned_offset), made)

        await self._write("insert_assignments", insert)

    async def insert_dead_letters(self, topic: str, partition: int, kept: Sequence[KeptDeadLetter]) -> None:
        async def insert(transaction: Transaction) -> None:
            for dead_letter in kept:
                transaction.insert("dead_letters", (topic, partition, dead_letter.offset), dead_letter)

        await self._write("insert_dead_letters", insert)

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
        if self._transaction is not None:
            self._transaction.end()
            self._transaction = None

    # Calls

    async def _read(self, name: str, read: Callable[[Transaction], Awaitable[Result]]) -> Result:
        """In the open transaction, or as of now."""

        async def work() -> Result:
            if self._transaction is not None:
                self._transaction.look()
            return await read(self._transaction or Transaction(self._database))

        return await self._call(name, work)

    async def _write(self, name: str, write: Callable[[Transaction], Awaitable[Result]]) -> Result:
        """In the open transaction, or in one of its own."""

        async def work() -> Result:
            if self._transaction is not None:
                self._transaction.look()
                return await write(self._transaction)
            alone = Transaction(self._database)
            try:
                result = await write(alone)
                alone.commit()
            finally:
                alone.end()
            self._process.world.committed()
            return result

        return await self._call(name, work, late=None if self._transaction is not None else lambda: work)

    async def _call(self, name: str, work: Work[Result], late: Callable[[], Work[object]] | None = None) -> Result:
        self._check_open()

        async def answered() -> Result:
            self._check_open()
            return await work()

        def reached(late: Callable[[], Work[object]]) -> Work[object]:
            self._check_open()
            return late()

        self._calls += 1
        after = None if late is None else partial(reached, late)
        result = await self._process.call(name, answered, late=after, error=self._broken)
        self._check_open()
        if self._transaction is not None:
            asyncio.get_running_loop().call_later(IDLE_IN_TRANSACTION_MS / 1000, self._end_idle, self._calls)
        return result

    def _check_open(self) -> None:
        if not self._open:
            raise asyncpg.InterfaceError("connection is closed")

    def _broken(self) -> Exception:
        self.terminate()
        return ConnectionResetError("simulated")

    def _end_idle(self, calls: int) -> None:
        """No call has come since: the server ends the session and its transaction."""
        if self._calls == calls and self._transaction is not None:
            self.terminate()


def _pool(row: Order | Wallet) -> Pool:
    return row.currency, row.network or ""


def _checked(row: PlaceRow) -> PlaceRow:
    if row.published_offset > row.next_offset:
        raise asyncpg.CheckViolationError("nothing_is_published_before_it_is_applied")
    return row


def _check_only_open_one(made: Assignment, others: Iterable[Assignment]) -> None:
    for other in others:
        if other.released_offset is None and other.currency == made.currency:
            if (other.network, other.address) == (made.network, made.address):
                raise asyncpg.UniqueViolationError("wallet_has_one_open_assignment")
            if other.order_id == made.order_id:
                raise asyncpg.UniqueViolationError("order_has_one_open_assignment")
