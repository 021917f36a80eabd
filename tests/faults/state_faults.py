"""What happens to the database's data: it is restored to an earlier point, its disk is full."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg

from storage.database import connect
from tests.faults.process_faults import in_hand
from tests.faults.registry import fault
from tests.faults.server_faults import lasting
from tests.faults.world import World
from tests.servers.wait import until

DISK_FULL = "DiskFullError"
"What the driver calls SQLSTATE 53100."
EVENTS_LOST = 500
"So many events the database forgets, about."


@fault("kafka", "postgres", "smtp", "allocators", "mailers")
async def database_restored(world: World) -> float:
    """A copy of the database is made at one moment; later all processes are killed, and it takes the place of the
    database. The log is processed again from there."""
    name = urlsplit(world.direct.need_database()).path.lstrip("/")
    with world.excuses.during():  # what was mailed since the copy is mailed again
        async with _administration(world) as admin:
            await _alone(admin, name)
            await admin.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            forgotten_from = len(world.upstream.acknowledged)
            await until(lambda: len(world.upstream.acknowledged) > forgotten_from + EVENTS_LOST, 60, "more events")
            async with in_hand(*world.processes):
                await asyncio.gather(*(member.kill() for member in world.processes))
                await _alone(admin, name)
                await admin.execute(f"DROP DATABASE {name}")
                await admin.execute(f"ALTER DATABASE {name}_copy RENAME TO {name}")
                for member in world.processes:
                    await member.start()
                since = time.monotonic()
                await asyncio.gather(*(member.started() for member in world.processes))
    return since


@contextlib.asynccontextmanager
async def _administration(world: World) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(world.servers.database_admin_url, application="walletq faults")
    try:
        yield connection
    finally:
        connection.terminate()


async def _alone(admin: asyncpg.Connection, name: str) -> None:
    """Nobody is connected to it any more, or can be."""
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)

    async def gone() -> bool:
        return not await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name)

    await until(gone, 20, f"everybody to leave {name}")


@fault("postgres", "allocators", "mailers")
async def disk_full(world: World) -> float:
    """The database's disk takes no more, and is cleared after a while. Nobody takes that for the fault of a record."""
    assert world.disk is not None, "this world has no disk to fill"
    before = _complaints(world)
    with world.excuses.during():
        world.disk.fill()
        try:
            await until(lambda: _complaints(world) > before, 30, "somebody to find the disk full")
            await lasting(world)
        finally:
            world.disk.clear()
    return time.monotonic()


def _complaints(world: World) -> int:
    return sum(member.process.log.count(DISK_FULL) for member in world.processes)
