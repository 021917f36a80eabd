"""Which of some dead letters go out, and what would become of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from consumers.allocator.needs import needs_of
from consumers.allocator.reading import Reader
from consumers.allocator.session import DatabaseSession
from consumers.allocator.state import Entry, Pool
from consumers.messages import partition_of
from operations.dead_letters.edits import Setting
from operations.dead_letters.forecast import Forecast, Outcome, entry_of
from operations.dead_letters.letters import SQL, Letter
from operations.dead_letters.preparing import Prepared, Refused, prepared
from schemas.catalogue import Catalogue
from schemas.topics import PARTITIONS


@dataclass(frozen=True)
class Going:
    """A dead letter that goes out: as which event, to which partition, and what is to be expected."""

    prepared: Prepared
    target_partition: int
    outcome: Outcome


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    going: Sequence[Going]
    "In the order of the log."
    refused: Sequence[Refused]
    notes: Sequence[str]
    "What may make it come otherwise, or is left for another time."


@dataclass(frozen=True)
class Terms:
    """What is asked for beside the dead letters themselves."""

    settings: Sequence[Setting] = ()
    again: bool = False
    force: bool = False


async def plan(
    connection: asyncpg.Connection, catalogue: Catalogue, topic: str, letters: Sequence[Letter], terms: Terms
) -> Plan:
    """What would become of the letters, if they came in this order behind what is applied now. Writes nothing.

    Args:
        connection: the operator's.
        catalogue: by which it is decided.
        topic: the orders' topic.
        letters: in the order of the log.
        terms: what is asked for.
    """
    partitions = await connection.fetchval(SQL["partition_counts"], topic) or PARTITIONS
    refused: list[Refused] = []
    by_partition: dict[int, list[Prepared]] = defaultdict(list)
    for letter in letters:
        one = prepared(letter, terms.settings, topic, again=terms.again, force=terms.force)
        if isinstance(one, Refused):
            refused.append(one)
        else:
            by_partition[partition_of(one.event.currency.encode(), partitions)].append(one)
    going, notes = [], []
    for partition, those in by_partition.items():
        reader = Reader(catalogue, partition, partitions)
        entries = await _entries(connection, topic, partition, reader, those)
        forecast = await _forecast(connection, catalogue, topic, partition, entries)
        if await connection.fetchval(SQL["other_catalogue"], topic, partition, catalogue.sha256):
            notes.append(f"{topic}/{partition} was last decided with another catalogue than the one here")
        for one, entry in zip(those, entries, strict=True):
            outcome = forecast.of(entry)
            if outcome.is_useful or terms.force:
                forecast.keep(entry)
                going.append(Going(one, partition, outcome))
            else:
                refused.append(Refused(one.letter, f"{outcome.words}. --force replays it all the same"))
    order = {letter.place: number for number, letter in enumerate(letters)}
    going.sort(key=lambda one: order[one.prepared.letter.place])
    refused.sort(key=lambda one: order[one.letter.place])
    return Plan(going, refused, notes)


async def _entries(
    connection: asyncpg.Connection, topic: str, partition: int, reader: Reader, those: Sequence[Prepared]
) -> list[Entry]:
    """The events as the allocator would read them now, behind everything that it has applied."""
    place, _ = await DatabaseSession(connection).gather(topic, partition, needs_of([]))
    now = datetime.now(UTC)
    return [entry_of(one.event, reader, place + number, now) for number, one in enumerate(those)]


async def _forecast(
    connection: asyncpg.Connection, catalogue: Catalogue, topic: str, partition: int, entries: Sequence[Entry]
) -> Forecast:
    _, state = await DatabaseSession(connection).gather(topic, partition, needs_of(entries))
    pools: list[Pool] = [*{(e.event.currency, e.network) for e in entries if e.event is not None and e.network}]
    rows = await connection.fetch(SQL["waiting"], [pool[0] for pool in pools], [pool[1] for pool in pools])
    waiting = {(row["currency"], row["network"]): row["waiting"] for row in rows}
    return Forecast(state, catalogue, topic, partition, waiting)
