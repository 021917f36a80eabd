"""What the indexes are for: few rows are read of many, and what follows a payment touches none of them."""

import asyncpg

from consumers.allocator.session import connecting
from consumers.allocator.state import Release
from schemas.settings import Settings
from tests.integration.mailer_world import World, mailing, open_world
from tests.ports.rows import AT, assignment, holding
from tests.ports.sessions import write
from tests.servers.inbox import Inbox
from tests.servers.wait import until

UPDATES = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'orders'"
FETCHED = "SELECT coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'assignments'"
SCANS = "SELECT sum(seq_scan)::int FROM pg_stat_user_tables WHERE relname IN ('orders', 'assignments', 'deliveries')"


async def test_after_the_payment_an_order_touches_no_index(settings: Settings, database: asyncpg.Connection) -> None:
    session = await connecting(settings.need_database())("walletq test")
    order = holding("ord-1", 0, "T1")
    await write(session, new_orders=[order])
    order.status, order.paid_offset = "paid", 1
    await write(session, changed_orders=[order])
    order.status, order.processing_offset = "processing", 2
    await write(session, changed_orders=[order])
    order.status, order.address, order.ended_offset, order.ended_at = "completed", None, 3, AT
    await write(session, changed_orders=[order])
    session.terminate()  # it tells its statistics when it ends

    async def told() -> asyncpg.Record | None:
        row = await database.fetchrow(UPDATES)
        return row if row["n_tup_upd"] == 3 else None

    updates = await until(told)
    assert updates["n_tup_hot_upd"] == 2  # all but the payment, which takes the order out of the clock's index


async def test_a_release_reads_no_assignment_but_its_own(settings: Settings, database: asyncpg.Connection) -> None:
    connect = connecting(settings.need_database())
    session = await connect("walletq release")
    many = range(1, 101)
    await write(session, assignments=[assignment(f"open-{offset}", f"T{offset}", offset) for offset in many])
    ended = [assignment(f"ended-{offset}", "T0", offset, released=offset + 1) for offset in range(101, 201)]
    await write(session, assignments=ended)
    session.terminate()
    await until(lambda: _ended(database, "walletq release"))
    before = await database.fetchval(FETCHED)

    session = await connect("walletq release")
    await write(session, releases=[Release(50, 300, AT)])
    session.terminate()
    await until(lambda: _ended(database, "walletq release"))
    await database.execute("SELECT pg_stat_clear_snapshot()")
    assert await database.fetchval(FETCHED) - before == 1


async def test_a_mailer_reads_no_table_as_a_whole(
    settings: Settings, database: asyncpg.Connection, inbox: Inbox
) -> None:
    async with open_world(settings, database) as world:
        said = [await world.order(f"ord-{number}", address=f"T{number}") for number in range(3)]
        before = await _scans(world)
        await world.publish(*said)
        async with mailing(settings):
            await inbox.wait_for(3)
        await until(lambda: _ended(database, "walletq mail"))  # a session tells its statistics when it ends
        assert await _scans(world) == before


async def _scans(world: World) -> int:
    await world.database.execute("SELECT pg_stat_force_next_flush()")
    scans: int = await world.database.fetchval(SCANS)
    return scans


async def _ended(database: asyncpg.Connection, application: str) -> bool:
    others: int = await database.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
        application,
    )
    return others == 0
