"""How many orders wait before an order: counted in the index, in a long queue from a place that was counted lately."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from uuid import UUID

import asyncpg

from storage.sql import read_queries

SQL = read_queries("mailer")

LONG = 10_000
"To count so many takes milliseconds. What is before them is counted again only after `OLDEST_SECONDS`."
OLDEST_SECONDS = 10.0

Pool = tuple[str, str]
"(currency, network)"
Place = tuple[str, str, int]
"(currency, network, queue place)"


@dataclass(frozen=True, slots=True)
class Mark:
    """So many orders waited before a place, at a time."""

    queue_place: int
    ahead: int
    at: float


BEGINNING = Mark(queue_place=0, ahead=0, at=float("inf"))


class Ranks:
    """Counts, and remembers for each pool how far it had come."""

    def __init__(self) -> None:
        self._marks: dict[Pool, Mark] = {}

    async def ahead(self, connection: asyncpg.Connection, places: Mapping[UUID, Place], now: float) -> dict[UUID, int]:
        """How many orders of its pool wait before each of these places.

        Args:
            connection: to the database.
            places: by the id of whoever asks.
            now: monotonic seconds.
        """
        asked = groupby(sorted(places.items(), key=itemgetter(1)), key=lambda item: item[1][:2])
        queues = {pool: [(place[2], name) for name, place in of_pool] for pool, of_pool in asked}
        marks = {pool: self._mark(pool, queue[0][0], now) for pool, queue in queues.items()}
        spans = [
            (*pool, start, stop)
            for pool, queue in queues.items()
            for start, stop in pairwise([marks[pool].queue_place, *(place for place, _ in queue)])
        ]
        rows = await connection.fetch(SQL["waiting_between"], *map(list, zip(*spans, strict=True)))
        counts = iter(rows)
        found: dict[UUID, int] = {}
        for pool, queue in queues.items():
            mark, ahead = marks[pool], marks[pool].ahead
            for _, name in queue:
                ahead += next(counts)["orders"]
                found[name] = ahead
            self._marks[pool] = Mark(queue[-1][0], ahead, min(mark.at, now))
        return found

    def _mark(self, pool: Pool, first: int, now: float) -> Mark:
        mark = self._marks.get(pool, BEGINNING)
        is_of_use = mark.ahead >= LONG and mark.queue_place <= first and now - mark.at < OLDEST_SECONDS
        return mark if is_of_use else BEGINNING
