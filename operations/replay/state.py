"""The replayed state, on disk: as large as the log makes it, and no more of it in memory than a cache."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from consumers.allocator.needs import many_waiting, needs_of
from consumers.allocator.state import (
    Assignment,
    Changes,
    Entry,
    KeptDeadLetter,
    KnownOrder,
    KnownWallet,
    Order,
    OrderKey,
    Pool,
    State,
    Wallet,
    WalletKey,
    order_row,
    wallet_row,
)
from consumers.allocator.store import as_kept
from storage.errors import WalletqError
from storage.sql import read_queries

SQL = read_queries("replayed")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Row = tuple[Any, ...]


class ReplayedState:
    """Orders, wallets, assignments and dead letters, as the allocator's Store has them. Made by `replayed_state`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.executescript(SQL["prepare"])
        self._connection = connection

    def gather(self, entries: Sequence[Entry]) -> State:
        """The orders and wallets that the entries name, and the heads of the queues of the pools they touch."""
        execute = self._connection.execute
        orders: dict[OrderKey, KnownOrder] = {}
        wallets: dict[WalletKey, KnownWallet] = {}
        needs = needs_of(entries)
        wallet_keys = list(needs.wallets)
        for order_key in needs.orders:
            for row in execute(SQL["order"], order_key):
                order = orders[order_key] = _known_order(row)
                if order.network is not None and order.address is not None:
                    wallet_keys.append((order.currency, order.network, order.address))
        for wallet_key in wallet_keys:
            for row in execute(SQL["wallet"], wallet_key):
                wallets[wallet_key] = _known_wallet(row)
        free: dict[Pool, list[str]] = {}
        waiting: dict[Pool, list[str]] = {}
        for pool, many in needs.free.items():
            for row in execute(SQL["first_free"], (*pool, many)):
                wallet = _known_wallet(row)
                wallets[*pool, wallet.address] = wallet
                free.setdefault(pool, []).append(wallet.address)
        for pool, many in many_waiting(needs, orders).items():
            for row in execute(SQL["first_waiting"], (*pool, many)):
                order = _known_order(row)
                orders[order.currency, order.order_id] = order
                waiting.setdefault(pool, []).append(order.order_id)
        return State(orders, wallets, free, waiting)

    def apply(self, partition: int, changes: Changes) -> None:
        """Write what a batch of this partition changes."""
        write = self._connection.executemany
        write(SQL["add_order"], map(_order_values, changes.new_orders))
        write(SQL["change_order"], map(_order_values, changes.changed_orders))
        write(SQL["add_wallet"], map(_wallet_values, changes.new_wallets))
        write(SQL["change_wallet"], map(_wallet_values, changes.changed_wallets))
        write(
            SQL["close_assignment"],
            [
                (partition, release.assigned_offset, release.released_offset, _number(release.released_at))
                for release in changes.releases
            ],
        )
        write(SQL["add_assignment"], [_assignment_values(partition, made) for made in changes.assignments])
        write(
            SQL["add_dead_letter"],
            [_dead_letter_values(partition, as_kept(dead_letter)) for dead_letter in changes.dead_letters],
        )

    def orders(self) -> Iterator[Row]:
        """An order's fields, in the order of their keys' bytes."""
        for row in self._connection.execute(SQL["orders"]):
            yield (*row[:5], _time(row[5]), *row[6:14], _time(row[14]), *row[15:18], _time(row[18]))

    def wallets(self) -> Iterator[Row]:
        """A wallet's fields, in the order of their keys' bytes; the id of the cooling as text."""
        for row in self._connection.execute(SQL["wallets"]):
            yield (*row[:7], bool(row[7]), row[8], _time(row[9]), *row[10:])

    def assignments(self) -> Iterator[Row]:
        """Partition, offset, id as text, and the rest as the table has it; by place."""
        for row in self._connection.execute(SQL["assignments"]):
            yield (*row[:8], bool(row[8]), _time(row[9]), _time(row[10]))

    def dead_letters(self) -> Iterator[Row]:
        """Partition, offset and the rest, bytes by their digests; by place."""
        for row in self._connection.execute(SQL["dead_letters"]):
            yield (*row[:4], _time(row[4]), *row[5:])

    def dead_letter_reasons(self) -> list[tuple[int, str, int]]:
        """How many records of each partition were refused for which reason."""
        return self._connection.execute(SQL["dead_letter_reasons"]).fetchall()


@contextmanager
def replayed_state() -> Iterator[ReplayedState]:
    """An empty state; it takes its disk space along at the end of the block, or of the process, however that ends.

    Raises:
        WalletqError: there is no room for it.
    """
    try:
        # Without a name the file is unlinked as soon as it is open (https://sqlite.org/inmemorydb.html).
        connection = sqlite3.connect("", isolation_level=None)
        try:
            yield ReplayedState(connection)
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        advice = "It takes about 300 bytes for each event of the log; TMPDIR says where."
        raise WalletqError(f"the replayed state cannot be kept on disk: {error}. {advice}") from error


def _number(time: datetime | None) -> int | None:
    return None if time is None else (time - _EPOCH) // _MICROSECOND


def _time(number: int | None) -> datetime | None:
    return None if number is None else _EPOCH + timedelta(microseconds=number)


def _known_order(row: Row) -> KnownOrder:
    return KnownOrder._make((*row[:5], _time(row[5]), *row[6:]))


def _order_values(order: Order) -> Row:
    row = list(order_row(order))
    row[5], row[14], row[18] = map(_number, (order.expires_at, order.pending_at, order.ended_at))
    return tuple(row)


def _known_wallet(row: Row) -> KnownWallet:
    return KnownWallet._make((*row[:7], bool(row[7]), None if row[8] is None else UUID(row[8])))


def _wallet_values(wallet: Wallet) -> Row:
    row = list(wallet_row(wallet))
    row[8] = None if wallet.cooling_assignment_id is None else str(wallet.cooling_assignment_id)
    row[9] = _number(wallet.cooling_until)
    return tuple(row)


def _assignment_values(partition: int, made: Assignment) -> Row:
    return (
        partition,
        made.assigned_offset,
        str(made.assignment_id),
        made.released_offset,
        made.currency,
        made.network,
        made.address,
        made.order_id,
        made.waited,
        _number(made.assigned_at),
        _number(made.released_at),
    )


def _dead_letter_values(partition: int, kept: KeptDeadLetter) -> Row:
    return (
        partition,
        kept.offset,
        kept.reason,
        kept.message,
        _number(kept.record_at),
        _digest(kept.key),
        _digest(kept.value),
        kept.value_length,
        kept.value_sha256,
        kept.traceparent,
    )


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()
