"""An owner that stops while the database writes its batch."""

import contextlib
import time

import asyncpg
import psutil

from schemas.topics import names
from storage.database import connect
from storage.sql import read_queries
from tests.faults.members import Member
from tests.faults.process_faults import in_hand
from tests.faults.registry import fault
from tests.faults.upstream import BUSY_PARTITIONS
from tests.faults.world import SESSION_MS, World
from tests.servers.wait import until

LIMIT_SECONDS = SESSION_MS / 1000 + 10
"Within so long a successor is at work: the session of the group, and a rebalance."

APPLY = read_queries("allocator")["apply"]
BLOCKED = """
SELECT client_port, query FROM pg_stat_activity
WHERE application_name = $1 AND wait_event_type = 'Lock' AND datname = current_database()
"""
STATE = "SELECT state FROM pg_stat_activity WHERE application_name = $1 AND client_port = $2"
PLACE = "SELECT next_offset FROM partitions WHERE topic = $1 AND partition = $2"


@fault("allocators", "kafka", "postgres")
async def owner_stopped_while_its_batch_is_written(world: World) -> float:
    """SIGSTOP of an owner whose batch waits for a lock; it is written nevertheless, and another owner publishes it and
    goes on; SIGCONT, and the first one has partitions again by itself."""
    topic, partition = names(world.direct).orders, world.rng.choice(sorted(BUSY_PARTITIONS))
    application = _application(topic, partition)
    count = len(world.allocators.all)
    lock = await connect(world.direct.need_database(), application="walletq faults: a lock")
    try:
        port, owner = await _catch(world, lock, topic, partition)
        async with in_hand(owner):
            owner.process.pause()
            stopped_at = time.monotonic()
            try:
                await lock.execute("ROLLBACK")
                await until(lambda: _is_idle(world, application, port), 10, "the batch to be written")
                place = (await world.ask(PLACE, topic, partition))[0][0]
                await until(lambda: _is_past(world, topic, partition, place), LIMIT_SECONDS, "a successor to go on")
            finally:
                owner.process.unpause()
            await world.allocators.shared(world.direct, count)
            owner.assert_alive()
        return stopped_at
    finally:
        lock.terminate()


async def _catch(world: World, lock: asyncpg.Connection, topic: str, partition: int) -> tuple[int, Member]:
    """The owner whose batch waits for our lock, and the port of its connection as the server sees it."""
    while True:
        await lock.execute("BEGIN")
        await lock.execute("SELECT FROM partitions WHERE topic = $1 AND partition = $2 FOR UPDATE", topic, partition)
        port, query, owner = await _blocked(world, _application(topic, partition))
        if query == APPLY:
            return port, owner
        await lock.execute("ROLLBACK")  # it notes its watermark: that is a statement by itself


async def _blocked(world: World, application: str) -> tuple[int, str, Member]:
    async def found() -> tuple[int, str, Member] | None:
        for row in await world.ask(BLOCKED, application):
            port = world.postgres.client_port(row["client_port"])
            for member in world.allocators.all:
                if port is not None and port in _ports(member):
                    return row["client_port"], row["query"], member
        return None

    blocked = await until(found, 20, "an owner to wait for the lock")
    assert blocked is not None
    return blocked


def _application(topic: str, partition: int) -> str:
    return f"walletq allocate {topic}/{partition}"[:63]


def _ports(member: Member) -> set[int]:
    with contextlib.suppress(psutil.Error):
        return {one.laddr.port for one in psutil.Process(member.process.pid).net_connections("tcp")}
    return set()


async def _is_idle(world: World, application: str, port: int) -> bool:
    rows: list[asyncpg.Record] = await world.ask(STATE, application, port)
    return bool(rows) and rows[0]["state"] == "idle"


async def _is_past(world: World, topic: str, partition: int, place: int) -> bool:
    return bool((await world.ask(PLACE, topic, partition))[0][0] > place)
