"""Membership: a static member's id belongs to one live process.

aiokafka 0.14 sends heartbeats without the instance id, so the broker cannot tell it that another process has taken
the id, and two such processes would take the partitions from each other for ever. The database can tell: a session
lock ends with its process, also after kill -9.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import structlog

from consumers.errors import MemberTaken
from storage.database import AWAY, Role, connect
from storage.errors import ServerUnreachable
from storage.sql import read_queries

SQL = read_queries("member")
CHECK_SECONDS = 1.0
# A host that vanishes says no farewell: the server notices within some ten seconds, and frees the id.
PARAMETERS = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}

log = structlog.get_logger(__name__)


@asynccontextmanager
async def member(url: str, role: Role, group: str, member_id: str | None) -> AsyncIterator[asyncio.Task[None] | None]:
    """Hold the member id while the block runs; nothing to hold for a dynamic member.

    Yields:
        a task that fails with MemberTaken if the id is lost to another process, or None for a dynamic member.

    Raises:
        MemberTaken: another live process holds the id.
        ServerUnreachable: the database does not answer.
    """
    if member_id is None:
        yield None
        return
    application = f"walletq member {member_id}"[:63]
    connection = await _hold(url, role, application, group, member_id)
    watch = asyncio.create_task(_keep(connection, url, role, application, group, member_id))
    try:
        yield watch
    finally:
        watch.cancel()
        await asyncio.wait([watch])


async def _hold(url: str, role: Role, application: str, group: str, member_id: str) -> asyncpg.Connection:
    connection = await connect(url, role, application=application, parameters=PARAMETERS, command_seconds=10)
    try:
        if not await connection.fetchval(SQL["hold_member"], group, member_id):
            holder = await connection.fetchval(SQL["member_holder"], group, member_id)
            raise MemberTaken(member_id, holder or "it has just ended; try again")
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _keep(
    connection: asyncpg.Connection, url: str, role: Role, application: str, group: str, member_id: str
) -> None:
    """Hold the lock; take it again where the database was away."""
    held: asyncpg.Connection | None = connection
    try:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                if held is None:
                    held = await _hold(url, role, application, group, member_id)
                    log.info("member_id_held_again", member_id=member_id)
                await held.execute("SELECT 1")
            except (ServerUnreachable, *AWAY) as error:
                if held is not None:
                    log.warning("member_id_lock_lost", member_id=member_id, error=type(error).__name__)
                    held.terminate()
                    held = None
    finally:
        if held is not None:
            held.terminate()
