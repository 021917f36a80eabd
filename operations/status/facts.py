"""What the database and Kafka say now."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import asyncpg
from aiokafka.errors import KafkaError

from operations.kafka_log import KafkaLog
from operations.pace import Pace, read_paces, runway_words
from schemas.catalogue import Catalogue
from schemas.settings import Settings
from schemas.topics import names
from storage.sql import read_queries

SQL = read_queries("operations")

KAFKA_SECONDS = 3.0
"Without an answer for so long, a view that goes on shows what the database knows."

Alert = Literal["OK", "CRITICAL", "EMERGENCY"]


@dataclass(frozen=True)
class Pool:
    """A pool: its wallets by status, its queue, and the alert level of its free wallets."""

    currency: str
    network: str
    free: int
    occupied: int
    cooling: int
    retired: int
    waiting: int
    oldest_waiting_seconds: int | None
    alert: Alert
    pace: Pace | None = None
    "What it did lately; None: nothing."

    @property
    def runway(self) -> str:
        """How long its free wallets last, in words."""
        return runway_words(self.free, self.pace)


@dataclass(frozen=True)
class Partition:
    """A partition of a consumed topic: how far it is applied."""

    topic: str
    partition: int
    end_offset: int | None
    next_offset: int
    lag: int | None
    "Offsets between the two; markers of transactions count. None, both: Kafka does not say."
    unpublished: int
    "Notifications and dead letters that Kafka has not acknowledged yet."
    applied: int
    no_effect: int
    dead_letters: int


@dataclass(frozen=True)
class Status:
    """Everything at one moment."""

    at: datetime
    pools: list[Pool]
    partitions: list[Partition]
    deliveries: dict[str, int]
    dead_letters: dict[str, dict[str, int]]
    "Topic → reason → how many."


def alert_level(free: int, critical_free: int) -> Alert:
    """EMERGENCY without a free wallet, CRITICAL at or below the catalogue's threshold."""
    if free == 0:
        return "EMERGENCY"
    return "CRITICAL" if free <= critical_free else "OK"


async def read_status(
    settings: Settings,
    catalogue: Catalogue,
    connection: asyncpg.Connection,
    log: KafkaLog,
    *,
    without_kafka: bool = False,
) -> Status:
    """The status now: the database's side of it is of one moment.

    Args:
        settings: the topics' names.
        catalogue: the pools that there should be.
        connection, log: where to look.
        without_kafka: where Kafka does not answer, no lag is known; else that is an error.
    """
    of = names(settings)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        now = await connection.fetchval(SQL["now"])
        wallets = await connection.fetch(SQL["pool_wallets"])
        queues = await connection.fetch(SQL["pool_queues"])
        places = await connection.fetch(SQL["partition_places"], of.orders)
        deliveries = await connection.fetch(SQL["delivery_states"])
        reasons = await connection.fetch(SQL["dead_letter_reasons"])
        paces = await read_paces(connection, of.orders)
    # Read after the database, so that a lag is never negative.
    consumed = (of.orders, of.notifications)
    ends: dict[str, dict[int, int | None]] = {topic: dict.fromkeys(range(log.partitions[topic])) for topic in consumed}
    try:
        async with asyncio.timeout(KAFKA_SECONDS if without_kafka else None):
            for topic in consumed:
                ends[topic] |= await log.ends(topic)
    except (KafkaError, OSError, asyncio.TimeoutError):
        if not without_kafka:
            raise
    dead_letters: dict[str, dict[str, int]] = {}
    for row in reasons:
        dead_letters.setdefault(row["topic"], {})[row["reason"]] = row["records"]
    return Status(
        at=now,
        pools=pools(catalogue, wallets, queues, now, paces),
        partitions=partitions(ends, places),
        deliveries={row["state"]: row["deliveries"] for row in deliveries},
        dead_letters=dead_letters,
    )


def pools(
    catalogue: Catalogue,
    wallets: Iterable[Mapping[str, Any]],
    queues: Iterable[Mapping[str, Any]],
    now: datetime,
    paces: Mapping[tuple[str, str], Pace],
) -> list[Pool]:
    """Every pool of the catalogue, then those that are only in the database."""
    by_pool = {(row["currency"], row["network"]): row for row in wallets}
    queue_of = {(row["currency"], row["network"]): row for row in queues}
    found = []
    for pool in dict.fromkeys([*catalogue.pools(), *by_pool, *queue_of]):
        counts, queue = by_pool.get(pool), queue_of.get(pool)
        currency = catalogue.currencies.get(pool[0])
        free = counts["free"] if counts else 0
        found.append(
            Pool(
                *pool,
                free=free,
                occupied=counts["occupied"] if counts else 0,
                cooling=counts["cooling"] if counts else 0,
                retired=counts["retired"] if counts else 0,
                waiting=queue["waiting"] if queue else 0,
                oldest_waiting_seconds=max(0, int((now - queue["oldest_pending_at"]).total_seconds()))
                if queue
                else None,
                alert=alert_level(free, currency.critical_free if currency else 0),
                pace=paces.get(pool),
            )
        )
    return found


def partitions(ends: Mapping[str, Mapping[int, int | None]], places: Iterable[Mapping[str, Any]]) -> list[Partition]:
    """Every partition of the consumed topics, whether anything of it is applied or not."""
    by_place = {(row["topic"], row["partition"]): row for row in places}
    found = []
    for topic, offsets in ends.items():
        for number, end in sorted(offsets.items()):
            row = by_place.get((topic, number))
            next_offset = row["next_offset"] if row else 0
            found.append(
                Partition(
                    topic,
                    number,
                    end_offset=end,
                    next_offset=next_offset,
                    lag=None if end is None else max(0, end - next_offset),
                    unpublished=row["unpublished"] if row else 0,
                    applied=row["applied"] if row else 0,
                    no_effect=row["no_effect"] if row else 0,
                    dead_letters=row["dead_letters"] if row else 0,
                )
            )
    return found
