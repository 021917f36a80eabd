"""The operator's session with the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from operations.process import COMMAND_SECONDS
from schemas.settings import Settings
from storage.database import connect
from storage.migrations import check_migrated


async def connect_operator(settings: Settings, command: str) -> asyncpg.Connection:
    """A connection in the operator's role, under the name of the command.

    Raises:
        ServerUnreachable: the database does not answer.
    """
    return await connect(
        settings.need_database(),
        "walletq_operator",
        application=f"walletq {command}",
        command_seconds=COMMAND_SECONDS,
    )


@asynccontextmanager
async def operator_session(settings: Settings, command: str) -> AsyncIterator[asyncpg.Connection]:
    """Such a connection with the tables of this version, for as long as the block runs.

    Raises:
        ServerUnreachable: the database does not answer.
        NotMigrated: it lacks tables of this version.
    """
    connection = await connect_operator(settings, command)
    try:
        await check_migrated(connection)
        yield connection
    finally:
        connection.terminate()
