"""What the database knows of an order: a few rows, each found by an index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from consumers.messages import partition_of
from operations.dead_letters.letters import Place, Replay, Wanted, find_replays, find_rows, place_of
from operations.pace import Pace, read_paces
from schemas.topics import PARTITIONS
from storage.sql import read_queries

SQL = read_queries("why")
DEAD_LETTERS = read_queries("dead_letters")
OPERATIONS = read_queries("operations")
NEXT_SHOWN = 3
MOST_DEAD_LETTERS = 100

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Queue:
    """Where a waiting order stands."""

    waiting: int
    "Orders in the pool's queue, this one with them."
    ahead: int
    next_in_line: Sequence[str]
    "The first of those ahead."
    pace: Pace | None


@dataclass(frozen=True)
class Refusal:
    """A dead letter that names the order."""

    place: Place
    reason: str
    message: str
    event: str | None
    record_at: datetime
    replays: Sequence[Replay]


@dataclass(frozen=True)
class Facts:
    """Everything at one moment."""

    now: datetime
    topic: str
    partition: int
    next_offset: int
    "Of the partition: what is behind it is not applied yet."
    cluster_id: str | None
    order: Row | None
    assignment: Row | None
    released_to: str | None
    "The order that got the wallet when this one ended."
    queue: Queue | None
    deliveries: Sequence[Row]
    refusals: Sequence[Refusal]

    @property
    def offsets(self) -> list[int]:
        """Those of the events that made the order what it is."""
        named = [(self.order or {}).get(f"{step}_offset") for step in ("pending", "paid", "processing", "ended")]
        if self.assignment is not None:
            named += [self.assignment["assigned_offset"], self.assignment["released_offset"]]
        return sorted({offset for offset in named if offset is not None})


async def read_facts(connection: asyncpg.Connection, topic: str, currency: str, order_id: str) -> Facts:
    """What is known of the order, all of one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        partitions = await connection.fetchval(DEAD_LETTERS["partition_counts"], topic) or PARTITIONS
        partition = partition_of(currency.encode(), partitions)
        place = await connection.fetchrow(SQL["place"], topic, partition)
        order = await connection.fetchrow(SQL["order"], currency, order_id)
        assignments = await connection.fetch(SQL["assignment"], currency, order_id)
        assignment = assignments[-1] if assignments else None
        released_to = None
        if assignment is not None and assignment["released_offset"] is not None:
            at = (assignment["partition"], assignment["released_offset"])
            released_to = await connection.fetchval(SQL["served"], *at)
        return Facts(
            now=await connection.fetchval(OPERATIONS["now"]),
            topic=topic,
            partition=partition,
            next_offset=place["next_offset"] if place else 0,
            cluster_id=place["cluster_id"] if place else None,
            order=order,
            assignment=assignment,
            released_to=released_to,
            queue=await _queue(connection, topic, order) if order and order["queue_place"] is not None else None,
            deliveries=await connection.fetch(SQL["deliveries"], currency, order_id),
            refusals=await read_refusals(connection, currency, order_id),
        )


async def read_refusals(connection: asyncpg.Connection, currency: str | None, order_id: str) -> list[Refusal]:
    """The dead letters that name the order, the oldest first."""
    rows = await find_rows(connection, Wanted(order_id=order_id, currency=currency, limit=MOST_DEAD_LETTERS))
    replays = await find_replays(connection, [place_of(row) for row in rows]) if rows else {}
    return [
        Refusal(
            place_of(row), row["reason"], row["message"], row["event"], row["record_at"], replays.get(place_of(row), [])
        )
        for row in reversed(rows)
    ]


async def _queue(connection: asyncpg.Connection, topic: str, order: Row) -> Queue:
    at = (order["currency"], order["network"], order["queue_place"])
    counted = await connection.fetchrow(SQL["queue"], *at)
    first = await connection.fetch(SQL["next_in_line"], *at, NEXT_SHOWN)
    paces = await read_paces(connection, topic)
    return Queue(counted["waiting"], counted["ahead"], [row["order_id"] for row in first], paces.get(at[:2]))
