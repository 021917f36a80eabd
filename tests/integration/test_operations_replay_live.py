"""`walletq replay` while allocators work, with logs that are cut, and on databases that they go on from."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from operations.kafka_log import open_log
from operations.replay.audit import audit, catch_up
from operations.replay.command import compare_with_database, rebuild_database
from operations.replay.inputs import Inputs
from operations.replay.progress import progress_bar
from operations.replay.rebuild import SomebodyElseWrites, rebuild
from operations.replay.replaying import DatabaseWentBack, LogIsShort, Scope
from operations.verify import check, until_drained
from operations.verify.snapshot import take_snapshot
from schemas.catalogue import read_catalogue
from schemas.settings import Settings, SettingsError
from schemas.topics import names
from storage.kafka import admin_client
from tests.integration.allocator_world import (
    allocating,
    assigned,
    messages,
    pending,
    processed,
    publish,
    status,
    wallet,
)
from tests.integration.replay_world import audited, empty, looking, on_topic, replaying, told, under
from tests.servers.databases import Databases
from tests.servers.wait import until
from tests.traffic import right_partition

USDT, BTC = right_partition(b"USDT"), right_partition(b"BTC")


async def test_database_may_go_on_while_the_log_is_replayed(settings: Settings, database: asyncpg.Connection) -> None:
    async with allocating(settings), replaying(settings) as replay:
        await publish(settings, messages(wallet(1), pending("a"), pending("b")))
        await processed(settings, database, 3)
        await catch_up(settings, replay)
        await publish(settings, messages(status("a", "completed"), pending("c")))
        await processed(settings, database, 5)
        async with take_snapshot(settings) as snapshot:
            await publish(settings, messages(status("b", "completed")))
            await processed(settings, database, 6)
            found = await audit(replay, snapshot.connection)
    assert found.agrees, told(found)
    assert found.records == 5


async def test_catalogue_may_change_while_the_log_is_replayed(
    settings: Settings, database: asyncpg.Connection, tmp_path: Path
) -> None:
    async with replaying(settings) as replay:
        async with allocating(settings):
            await publish(settings, messages(wallet(1), pending("a")))
            await processed(settings, database, 2)
        await catch_up(settings, replay)
        async with allocating(under(settings, tmp_path, ("5000", "100"))):
            await publish(settings, messages(pending("b"), pending("c", amount="99")))
            await processed(settings, database, 4)
        async with take_snapshot(settings) as snapshot:
            found = await audit(replay, snapshot.connection)
    assert found.agrees, told(found)
    assert await database.fetchval("SELECT count(*) FROM dead_letters") == 1


async def test_database_that_went_back_while_the_log_was_replayed_is_refused(
    settings: Settings, database: asyncpg.Connection
) -> None:
    async with replaying(settings) as replay:
        async with allocating(settings):
            await publish(settings, messages(wallet(1), pending("a")))
            await processed(settings, database, 2)
        await catch_up(settings, replay)
        await database.execute("UPDATE partitions SET published_offset = 0, next_offset = 1 WHERE partition = $1", USDT)
        with pytest.raises(DatabaseWentBack, match="applied it up to 1, and had up to 2 before"):
            async with take_snapshot(settings) as snapshot:
                await audit(replay, snapshot.connection)


async def test_log_whose_first_records_are_gone_is_not_checked(
    settings: Settings, database: asyncpg.Connection
) -> None:
    async with allocating(settings):
        await publish(settings, messages(wallet(1), pending("a"), wallet(1, "BTC"), pending("b", "BTC")))
        await processed(settings, database, 4)
    async with admin_client(settings) as admin:
        await admin.delete_records({TopicPartition(names(settings).orders, USDT): RecordsToDelete(before_offset=1)})
    with pytest.raises(LogIsShort, match=f"order-status/{USDT} starts at offset 1"):
        await audited(settings)
    assert (await audited(settings, Scope(frozenset({BTC})))).records == 2
    (finding,) = [finding for finding in await check(settings) if finding.invariant == "I5"]
    assert (finding.result, finding.over) == ("ok", "2 records, 14 rows")
    assert finding.note == "1 partitions left out, whose first records are gone"
    async with admin_client(settings) as admin:
        await admin.delete_records({TopicPartition(names(settings).orders, BTC): RecordsToDelete(before_offset=2)})
    (finding,) = [finding for finding in await check(settings) if finding.invariant == "I5"]
    assert finding.result == "not checked"


async def test_allocator_goes_on_from_a_rebuilt_database_and_publishes_what_is_missing(
    settings: Settings, database: asyncpg.Connection, databases: Databases
) -> None:
    async with allocating(settings):
        await publish(settings, messages(wallet(1), *(pending(name) for name in "abcd"), status("a", "completed")))
        await publish(settings, messages(status("b", "completed")))
        await processed(settings, database, 7)
        assert await until_drained(settings, 20)
    of_b = right_partition(b"b")
    async with admin_client(settings) as admin:  # the notification of b is on this partition, and goes
        at = TopicPartition(names(settings).notifications, of_b)
        await admin.delete_records({at: RecordsToDelete(before_offset=-1)})
    before = await on_topic(settings)
    async with empty(settings, databases) as rebuilt, looking(rebuilt) as other:
        assert await rebuild_database(rebuilt, None, as_json=True) == 0
        assert await other.fetchval("SELECT published_offset FROM partitions WHERE partition = $1", USDT) == 5
        async with allocating(rebuilt):
            await publish(rebuilt, messages(status("c", "completed")))
            await assigned(other, "d")
            await until(lambda: more_on_topic(settings, before + 3), what="the lost one, its follower, and a new one")
        found = await audited(rebuilt)
    assert found.agrees, told(found)


async def test_allocator_that_starts_during_a_rebuild_stops_it(
    settings: Settings, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(settings, messages(wallet(1), pending("a")))

    async with open_log(settings) as log:
        read = log.read

        async def disturbed(topic: str, *places: Any) -> AsyncIterator[Any]:
            async for records in read(topic, *places):
                await database.execute("UPDATE partitions SET next_offset = 1 WHERE topic = $1", topic)
                yield records

        monkeypatch.setattr(log, "read", disturbed)
        with progress_bar("", wanted=False) as bar, pytest.raises(SomebodyElseWrites, match="has moved the place"):
            await rebuild(settings, log, Inputs(), read_catalogue(), bar)
    assert await database.fetchval("SELECT count(*) FROM orders") == 0


async def test_partition_that_is_none_is_bad_usage(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="there is no partition 12; they go from 0 to 11"):
        await compare_with_database(settings, Scope(frozenset({3, 12})), None, as_json=True)


async def more_on_topic(settings: Settings, wanted: int) -> bool:
    return await on_topic(settings) >= wanted
