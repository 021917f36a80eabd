"""What the database's tables say of pools, deliveries and places."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import asyncpg

from schemas.catalogue import Catalogue
from storage.sql import read_queries

SQL = read_queries("monitoring")
LIVE = ("due", "sending", "held")


class Pool(NamedTuple):
    """A pool: its wallets by status, its queue, and its threshold."""

    currency: str
    network: str
    available: int
    occupied: int
    cooling: int
    waiting: int
    oldest_waiting_seconds: float
    critical: int


class Tables(NamedTuple):
    """Everything, as it was read last."""

    pools: Sequence[Pool]
    deliveries: Mapping[str, int]
    oldest_due_seconds: float
    places: Mapping[tuple[str, int], int]
    "The first record of each topic's partition that is not applied, of those that have ever been owned."


async def read_tables(connection: asyncpg.Connection, catalogue: Catalogue) -> Tables:
    """Read the tables, at a cost that grows with what waits and not with what was."""
    # No transaction around them: its rollback would wait for a server that has stopped to answer.
    rows = await connection.fetch(SQL["pools"], *map(list, zip(*catalogue.pools(), strict=True)))
    counts = {row["state"]: row["deliveries"] for row in await connection.fetch(SQL["deliveries"])}
    oldest_due = await read_oldest_due(connection)
    return Tables(
        [Pool(**row, critical=catalogue.currencies[row["currency"]].critical_free) for row in rows],
        {state: counts.get(state, 0) for state in LIVE},
        oldest_due,
        {(row["topic"], row["partition"]): row["next_offset"] for row in await connection.fetch(SQL["places"])},
    )


async def read_oldest_due(connection: asyncpg.Connection) -> float:
    """For how many seconds a delivery has been due; 0 where none is."""
    seconds: float = await connection.fetchval(SQL["oldest_due"])
    return seconds


async def answer(connection: asyncpg.Connection) -> None:
    """Let the database answer."""
    await connection.execute(SQL["answer"])
