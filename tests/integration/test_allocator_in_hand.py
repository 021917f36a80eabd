"""A process has no more records in hand than it may, and an owner that is held up with them stops no other."""

import asyncpg
import pytest

from consumers.allocator.in_hand import LEAST, InHand
from schemas.catalogue import Catalogue, read_catalogue
from schemas.settings import Settings
from schemas.topics import names
from tests.integration.allocator_world import FakeLog, outbox_of, owning, pending
from tests.servers.wait import until
from tests.traffic import right_partition

MOST, BATCH, RECORDS = 300, 200, 2 * LEAST
HOLD_UP = "SELECT 1 FROM partitions WHERE topic = $1 AND partition = $2 FOR UPDATE"


@pytest.fixture
def catalogue() -> Catalogue:
    return read_catalogue()


async def test_an_owner_that_is_held_up_takes_no_more_and_stops_no_other(
    settings: Settings, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    in_hand, outbox = InHand(MOST), outbox_of(settings)
    held, other = FakeLog(right_partition(b"USDT")), FakeLog(right_partition(b"BTC"))
    try:
        async with (
            owning(settings, catalogue, held, outbox, batch_records=BATCH, in_hand=in_hand) as held_up,
            owning(settings, catalogue, other, outbox, batch_records=BATCH, in_hand=in_hand) as free,
        ):
            await until(lambda: held_up.next_offset == 0 and free.next_offset == 0, what="the places to be taken")
            async with database.transaction():
                await database.execute(HOLD_UP, names(settings).orders, held.partition)
                held.append(*(pending(f"u-{number}") for number in range(RECORDS)))
                await until(lambda: in_hand.room(holding=1) < 1)
                other.append(*(pending(f"b-{number}", "BTC") for number in range(RECORDS)))
                await until(lambda: free.next_offset == RECORDS, what="the other partition to be done")
                assert held_up.next_offset == 0
                assert held.position == MOST  # a batch, and of the next one what there is room for
            await until(lambda: held_up.next_offset == RECORDS, what="the one held up to go on")
            await until(lambda: in_hand.room(holding=1) == MOST, what="everything to be given back")
    finally:
        await outbox.close()


async def test_records_in_hand_at_the_loss_of_the_place_are_given_back(
    settings: Settings, database: asyncpg.Connection, catalogue: Catalogue
) -> None:
    in_hand, outbox, log = InHand(MOST), outbox_of(settings), FakeLog()
    terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    try:
        async with owning(settings, catalogue, log, outbox, batch_records=BATCH, in_hand=in_hand) as owner:
            await until(lambda: owner.next_offset == 0, what="the place to be taken")
            async with database.transaction():
                await database.execute(HOLD_UP, names(settings).orders, log.partition)
                log.append(*(pending(f"ord-{number}") for number in range(RECORDS)))
                await until(lambda: in_hand.room(holding=1) < 1)
                await until(lambda: database.fetchval(terminate), what="the owner to wait for the lock")
                await until(lambda: in_hand.room(holding=1) == MOST, what="everything to be given back")
            await until(lambda: owner.next_offset == RECORDS, what="all of it to be done after all")
    finally:
        await outbox.close()
