"""A replay beside a live system: it catches up first, so that the snapshot to compare with is held for a moment."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from operations.replay.compare import Compared, compare
from operations.replay.inputs import Inputs, read_inputs
from operations.replay.replaying import LogIsShort, Replay
from schemas.settings import Settings
from storage.database import connect
from storage.migrations import check_migrated
from storage.times import read_any_time

ROUNDS = 5
FEW_OFFSETS = 5_000
"So little may be left for the time of the snapshot."


@dataclass(frozen=True)
class Audit:
    """What a replay came to.

    Attributes:
        records: how many records were replayed.
        inputs: what was taken as given.
        tables: the comparison of each table.
    """

    records: int
    inputs: Inputs
    tables: list[Compared]

    @property
    def agrees(self) -> bool:
        """Whether the database is what the replay came to."""
        return all(table.agrees for table in self.tables)


async def catch_up(settings: Settings, replay: Replay) -> None:
    """Replay up to the database's places, again until little is left.

    Raises:
        LogIsShort: the first records of a partition in the scope are gone.
        LogDoesNotFit, DatabaseWentBack, CatalogueUnreadable
    """
    async with looking(settings) as connection:
        for _ in range(ROUNDS):
            inputs = await read_inputs(connection, replay.topic)
            if gone := await replay.missing_starts(inputs):
                raise LogIsShort(replay.topic, gone)
            if replay.places and replay.left(inputs) < FEW_OFFSETS:
                break
            await replay.advance(inputs)


async def audit(replay: Replay, connection: asyncpg.Connection) -> Audit:
    """Replay what is left up to the snapshot that this connection is in, and compare.

    Raises:
        LogIsShort, LogDoesNotFit, DatabaseWentBack, CatalogueUnreadable
    """
    inputs = await read_inputs(connection, replay.topic)
    if gone := await replay.missing_starts(inputs):
        raise LogIsShort(replay.topic, gone)
    await replay.advance(inputs)
    return Audit(replay.records, inputs, await compare(replay, inputs, connection))


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the operator's rights, to a database of this version."""
    connection = await connect(settings.need_database(), "walletq_operator", application="walletq replay")
    try:
        await check_migrated(connection)
        await read_any_time(connection)
        yield connection
    finally:
        connection.terminate()
