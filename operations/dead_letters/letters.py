"""The dead letters of the database, and what was replayed of them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import orjson

from consumers.dead_letters import DeadLetter
from operations.dead_letters.edits import Edit
from schemas.settings import SettingsError
from storage.sql import read_queries

SQL = read_queries("dead_letters")


class Place(NamedTuple):
    """Where the refused record is in the log: what a dead letter is known by."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True)
class Wanted:
    """Which dead letters are meant; None: any."""

    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    reasons: Sequence[str] | None = None
    order_id: str | None = None
    currency: str | None = None
    older_than: float | None = None
    newer_than: float | None = None
    "Seconds ago, both."
    replayed: bool | None = None
    limit: int = 100

    def arguments(self) -> tuple[object, ...]:
        """As the statement `find` takes them, but for the order."""
        ages = (self.older_than, self.newer_than)
        record = (self.topic, self.partition, self.offset)
        return (*record, self.reasons, self.order_id, self.currency, *ages, self.replayed, self.limit)


@dataclass(frozen=True)
class Replay:
    """What was replayed of a dead letter, or begun."""

    event_id: str
    actor: str
    edits: Sequence[Edit]
    target_partition: int
    log_end: int
    "Where the target partition ended before it went out."
    begun_at: datetime
    published_offset: int | None
    "None: it is not known whether it went out."
    published_at: datetime | None
    refused_again: str | None
    "The reason, where it became a dead letter again."
    is_taken: bool
    "The allocator has come so far."


@dataclass(frozen=True)
class Letter(DeadLetter):
    """A dead letter of any topic, and what was replayed of it."""

    topic: str
    replays: Sequence[Replay] = ()

    @property
    def place(self) -> Place:
        """Where the record is."""
        return Place(self.topic, self.partition, self.offset)

    @property
    def published(self) -> Sequence[Replay]:
        """The replays that are known to have gone out."""
        return [replay for replay in self.replays if replay.published_offset is not None]

    @property
    def unfinished(self) -> Sequence[Replay]:
        """The replays of which it is not known whether they went out: those begun after the last one that did. Whoever
        began that one had looked for them before."""
        last = max((number for number, one in enumerate(self.replays) if one.published_offset is not None), default=-1)
        return self.replays[last + 1 :]


def read_place(text: str, orders_topic: str) -> Place:
    """TOPIC/PARTITION/OFFSET, or PARTITION/OFFSET of the orders' topic.

    Raises:
        SettingsError: it is neither.
    """
    found = re.fullmatch(r"(?:([A-Za-z0-9._-]+)/)?([0-9]{1,9})/([0-9]{1,18})", text)
    if found is None:
        raise SettingsError(f"{text}: expected TOPIC/PARTITION/OFFSET, as `walletq dead-letters list` shows them")
    return Place(found[1] or orders_topic, int(found[2]), int(found[3]))


async def find_rows(connection: asyncpg.Connection, wanted: Wanted) -> list[asyncpg.Record]:
    """What `list` shows, the newest first; without the records' bytes."""
    places, _ = await find_places(connection, wanted, newest_first=True)
    rows: list[asyncpg.Record] = await connection.fetch(SQL["rows"], *_columns(places))
    return rows


async def find_places(
    connection: asyncpg.Connection, wanted: Wanted, *, newest_first: bool = False
) -> tuple[list[Place], int]:
    """Where they are, in the order of the log if not the newest first; and how many more match."""
    rows = await connection.fetch(SQL["find"], *wanted.arguments(), newest_first)
    return [place_of(row) for row in rows], rows[0]["matches"] - len(rows) if rows else 0


async def find_letters(connection: asyncpg.Connection, places: Sequence[Place]) -> list[Letter]:
    """The dead letters at these places, in the order of the log; those that there are."""
    replays = await find_replays(connection, places)
    rows = await connection.fetch(SQL["at"], *_columns(places))
    return [Letter(**row, replays=replays.get(place_of(row), [])) for row in rows]


async def find_replays(connection: asyncpg.Connection, places: Iterable[Place]) -> Mapping[Place, list[Replay]]:
    """What was replayed of the dead letters at these places, the oldest first."""
    found: dict[Place, list[Replay]] = defaultdict(list)
    for row in await connection.fetch(SQL["replays"], *_columns(places)):
        fields = {name: row[name] for name in Replay.__dataclass_fields__ if name != "edits"}
        edits = [Edit(**edit) for edit in orjson.loads(row["edits"])]
        found[place_of(row)].append(Replay(**fields, edits=edits))
    return found


def place_of(row: Mapping[str, Any]) -> Place:
    """The place that a row names."""
    return Place(row["topic"], row["partition"], row["offset"])


def _columns(places: Iterable[Place]) -> list[list[Any]]:
    """Places as the columns that unnest() takes."""
    return [list(column) for column in zip(*places, strict=True)] or [[], [], []]
