"""The database at one moment, and as it is now."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from schemas.settings import Settings
from schemas.topics import names
from storage.database import connect
from storage.migrations import check_migrated
from storage.sql import read_queries
from storage.times import read_any_time

PLACES = read_queries("operations")["partition_places"]


@dataclass(frozen=True)
class Snapshot:
    """The database at the moment at which the check began.

    Attributes:
        connection: in a repeatable read transaction of that moment.
        now: a connection that sees what was committed since. What is published was committed before, so what a topic
            says is looked up here: the snapshot may not know of it yet.
        places: the partitions' rows of the snapshot, by topic and partition.
    """

    connection: asyncpg.Connection
    now: asyncpg.Connection
    places: dict[tuple[str, int], asyncpg.Record]

    def place(self, topic: str, partition: int, column: str = "next_offset") -> int:
        """A partition's `next_offset` or another of its numbers; 0 where it has no row yet."""
        row = self.places.get((topic, partition))
        return row[column] if row else 0

    def consumed(self, topic: str) -> bool:
        """Whether anybody has begun to consume the topic."""
        return any(consumed == topic for consumed, _ in self.places)


@asynccontextmanager
async def take_snapshot(settings: Settings) -> AsyncIterator[Snapshot]:
    """The snapshot of this moment, with the operator's rights."""
    url = settings.need_database()
    async with _connected(url) as connection, _connected(url) as now:
        await check_migrated(connection)
        # While a topic is read the transaction is idle, and may be: it holds no locks that anybody waits for.
        await connection.execute("SET idle_in_transaction_session_timeout = 0")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await connection.fetch(PLACES, names(settings).orders)
            yield Snapshot(connection, now, {(row["topic"], row["partition"]): row for row in rows})


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(url, "walletq_operator", application="walletq verify")
    try:
        await read_any_time(connection)
        yield connection
    finally:
        connection.terminate()
