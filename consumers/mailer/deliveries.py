"""The mailer's tables: deliveries, its dead letters, and where its partitions go on."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg

from consumers.dead_letters import DeadLetter
from consumers.errors import Fenced
from consumers.mailer.endings import Dossier, Ending
from consumers.mailer.notices import Changes, Delivery, Known
from consumers.mailer.ranks import Ranks
from schemas.events import WalletAssigned
from storage.sql import read_queries

SQL = read_queries("mailer")
STATEMENT_SECONDS = 10.0
"A database that does not answer for so long is away."


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that is ours under a lease."""

    notification_id: UUID
    lease_holder: UUID
    order_id: str
    interrupted: bool
    "An attempt was under way when its mailer died: nobody knows whether its mail was sent."


@dataclass(frozen=True, slots=True)
class Settled:
    """A claim and how it ends; `address` is the one that the mail showed."""

    claim: Claim
    ending: Ending
    address: str | None = None
    dead_letter: DeadLetter | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """An order that has waited for a while."""

    currency: str
    order_id: str
    queue_place: int
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a partition goes on, and which log that is a place in."""

    partition: int
    next_offset: int
    partition_count: int
    cluster_id: str


class Deliveries:
    """What the mailer reads and writes, in a handful of set-based statements."""

    def __init__(self, pool: asyncpg.Pool, topic: str) -> None:
        self._pool = pool
        self._topic = topic
        self._ranks = Ranks()

    async def places(self, partitions: Sequence[int], partition_count: int, cluster_id: str) -> list[Place]:
        """Where these partitions go on; those that were never seen begin at 0 with this count and cluster."""
        async with self._work() as connection:
            await connection.execute(SQL["create_places"], self._topic, partitions, partition_count, cluster_id)
            rows = await connection.fetch(SQL["read_places"], self._topic, partitions)
            return [Place(**row) for row in rows]

    async def gather(self, notifications: Sequence[WalletAssigned]) -> dict[UUID, Known]:
        """The assignments that these are of, as far as they exist."""
        said = _columns(((one.notification_id, one.currency, one.order_id) for one in notifications), 3)
        async with self._work() as connection:
            rows = await connection.fetch(SQL["gather"], *said)
        return {row["notification_id"]: Known(row["currency"], row["order_id"], row["has_delivery"]) for row in rows}

    async def apply(self, changes: Changes) -> None:
        """Write a batch in one transaction.

        Raises:
            Fenced: another mailer owns one of the partitions now; nothing is written.
        """
        async with self._work() as connection, _all_or_nothing(connection):
            steps = _columns(map(astuple, changes.steps), 6)
            moved = {row[0] for row in await connection.fetch(SQL["advance"], self._topic, *steps)}
            for step in changes.steps:
                if step.partition not in moved:
                    raise Fenced(self._topic, step.partition, step.start)
            if changes.deliveries:
                await connection.execute(SQL["add_deliveries"], *_columns(map(astuple, changes.deliveries), 6))
            await self._add_dead_letters(connection, changes.dead_letters)

    async def claim(self, count: int, lease_holder: UUID, seconds: float) -> list[tuple[Claim, Dossier]]:
        """Up to `count` deliveries that are due, for so many seconds, with what is to be known for their mails."""
        async with self._work() as connection:
            rows = await connection.fetch(SQL["claim"], count, lease_holder, seconds)
            if not rows:
                return []
            known = [dict(row) for row in rows]
            claims = [
                Claim(one["notification_id"], lease_holder, one["order_id"], one.pop("interrupted")) for one in known
            ]
            dossiers = await self._ranked(connection, [Dossier(**one) for one in known])
        return list(zip(claims, dossiers, strict=True))

    async def look(self, claim: Claim) -> Dossier | None:
        """What is to be known for its mail now; None where the lease is lost."""
        async with self._work() as connection:
            row = await connection.fetchrow(SQL["look"], claim.notification_id, claim.lease_holder)
            return row and (await self._ranked(connection, [Dossier(**row)]))[0]

    async def queued_in_hand(self) -> int:
        """How many deliveries of kind queued have not ended."""
        async with self._work() as connection:
            count: int = await connection.fetchval(SQL["queued_in_hand"])
        return count

    async def waiting(self, pools: Sequence[tuple[str, str]], seconds: float, count: int) -> list[Waiting]:
        """Up to `count` orders of these pools that have waited for so long and have no delivery of kind queued."""
        async with self._work() as connection:
            rows = await connection.fetch(SQL["waiting"], *_columns(pools, 2), seconds, count)
        return [Waiting(**row) for row in rows]

    async def add_queued(self, deliveries: Sequence[Delivery]) -> None:
        """Deliveries of kind queued, due at once; one that exists stays as it is."""
        async with self._work() as connection:
            await connection.execute(SQL["add_queued"], *_columns(map(astuple, deliveries), 6))

    async def settle(self, settled: Sequence[Settled]) -> set[UUID]:
        """End attempts, in one transaction with their dead letters. Those whose lease still held."""
        rows = [
            (
                one.claim.notification_id,
                one.claim.lease_holder,
                one.ending.state,
                one.ending.outcome,
                one.ending.counted,
                one.ending.delay,
                one.address,
            )
            for one in settled
        ]
        dead_letters = {one.claim.notification_id: one.dead_letter for one in settled if one.dead_letter}
        # A statement alone is a transaction as it is: to begin and to commit would be two round trips more.
        async with (
            self._work() as connection,
            _all_or_nothing(connection) if dead_letters else contextlib.nullcontext(),
        ):
            held = {row[0] for row in await connection.fetch(SQL["settle"], *_columns(rows, 7))}
            await self._add_dead_letters(connection, [one for id_, one in dead_letters.items() if id_ in held])
        return held

    async def hasten(self, count: int) -> int:
        """Make due up to `count` deliveries that met silence. How many that were; fewer where no more are left."""
        async with self._work() as connection:
            status: str = await connection.execute(SQL["hasten"], count)
        return int(status.split()[-1])

    async def next_due(self) -> float | None:
        """Seconds until a delivery is due or a lease runs out; below 0 for one that is due; None for none."""
        async with self._work() as connection:
            seconds: float | None = await connection.fetchval(SQL["next_due"])
        return seconds

    async def dead_letters_to_publish(self, limit: int) -> list[DeadLetter]:
        """The first that nobody has published."""
        async with self._work() as connection:
            rows = await connection.fetch(SQL["dead_letters_to_publish"], self._topic, limit)
        return [DeadLetter(**row) for row in rows]

    async def dead_letters_published(self, dead_letters: Sequence[DeadLetter]) -> None:
        """The broker has acknowledged these."""
        places = _columns(((letter.partition, letter.offset) for letter in dead_letters), 2)
        async with self._work() as connection:
            await connection.execute(SQL["dead_letters_published"], self._topic, *places)

    @contextlib.asynccontextmanager
    async def _work(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for one piece of work. Whatever fails, it is dropped: asyncpg would wait for ever until a
        frozen server takes notice of a cancelled statement."""
        async with asyncio.timeout(STATEMENT_SECONDS):
            connection = await self._pool.acquire(timeout=STATEMENT_SECONDS)
            try:
                yield connection
            except BaseException:
                connection.terminate()
                raise
            finally:
                await self._pool.release(connection)

    async def _ranked(self, connection: asyncpg.Connection, dossiers: list[Dossier]) -> list[Dossier]:
        """The same, those of waiting orders with how many wait before them."""
        places = {
            one.notification_id: (one.currency, one.network, one.queue_place)
            for one in dossiers
            if one.kind == "queued" and one.network is not None and one.queue_place is not None
        }
        if not places:
            return dossiers
        ahead = await self._ranks.ahead(connection, places, time.monotonic())
        return [replace(one, ahead=ahead.get(one.notification_id)) for one in dossiers]

    async def _add_dead_letters(self, connection: asyncpg.Connection, dead_letters: Sequence[DeadLetter]) -> None:
        if dead_letters:
            columns = _columns(map(astuple, dead_letters), 10)
            await connection.execute(SQL["add_dead_letters"], self._topic, *columns)


@contextlib.asynccontextmanager
async def _all_or_nothing(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """A transaction. After a failure nobody rolls it back: the connection is dropped, and that does."""
    transaction = connection.transaction()
    await transaction.start()
    yield
    await transaction.commit()


def _columns(rows: Iterable[tuple[Any, ...]], count: int) -> list[list[Any]]:
    """Rows as the columns that unnest() takes."""
    columns: list[list[Any]] = [[] for _ in range(count)]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns
