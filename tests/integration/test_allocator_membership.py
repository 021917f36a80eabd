"""Members of the consumer group: who has which partitions, how they pass on, and what a restart brings."""

import asyncio
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupCoordinatorNotAvailableError

from consumers.allocator import handler
from consumers.group import leave
from schemas.catalogue import read_catalogue
from schemas.settings import Settings
from schemas.topics import PARTITIONS, names
from storage.kafka import admin_client
from tests.integration.allocator_world import (
    Document,
    allocating,
    assert_as_the_rules_say,
    assigned,
    messages,
    pending,
    processed,
    publish,
    status,
    wallet,
)
from tests.integration.outsiders import taking_over
from tests.servers.processes import process, walletq
from tests.servers.wait import until
from tests.traffic import right_partition

LONG = 120_000
"Milliseconds: a session timeout that no test waits for."
CURRENCIES = ("BTC", "ETH", "LTC", "USDT")


async def shares(settings: Settings) -> list[int]:
    """How many partitions each member has, once the group is at rest; nothing before."""
    async with admin_client(settings) as admin:
        try:
            (described,) = await admin.describe_consumer_groups([names(settings).allocator_group])
        except GroupCoordinatorNotAvailableError:  # nobody has joined a group of this broker before
            return []
    _, _, state, _, _, members, *_ = described.groups[0]
    if state != "Stable":
        return []
    return sorted(len(ConsumerProtocolMemberAssignment.decode(member[4]).partitions()) for member in members)


async def shared(settings: Settings, *wanted: int) -> None:
    """Wait until the members have so many partitions each."""

    async def so() -> bool:
        return await shares(settings) == list(wanted)

    await until(so, 30, f"the partitions to be shared as {wanted}")


def everywhere(number: int) -> list[Document]:
    """A wallet and two orders for each currency."""
    wallets = [wallet(number, currency) for currency in CURRENCIES]
    return wallets + [pending(f"{number}-{order}", currency) for currency in CURRENCIES for order in range(2)]


async def test_partitions_are_shared_and_pass_on_at_once_when_a_member_leaves(
    settings: Settings, database: asyncpg.Connection
) -> None:
    settings = settings.model_copy(update={"session_timeout_ms": LONG})
    async with allocating(settings):
        await shared(settings, PARTITIONS)
        await publish(settings, messages(*everywhere(1)))
        async with allocating(settings):
            await shared(settings, PARTITIONS // 2, PARTITIONS // 2)
            await publish(settings, messages(*everywhere(2)))
            await processed(settings, database, 24)
            await publish(settings, messages(*everywhere(3)))  # some of it is in hand when the member leaves
        await shared(settings, PARTITIONS)
        await publish(settings, messages(*everywhere(4)))
        await processed(settings, database, 48)
    await assert_as_the_rules_say(settings, database)


async def test_a_static_member_has_its_partitions_again_at_once(
    settings: Settings, database: asyncpg.Connection
) -> None:
    settings = settings.model_copy(update={"session_timeout_ms": LONG, "member_id": "allocator-1"})
    async with process("allocate", settings) as first:
        await publish(settings, messages(wallet(1), pending("ord-1")))
        await assigned(database, "ord-1")
        first.terminate()
        assert await first.wait(10) == 0
    async with process("allocate", settings) as second:
        await publish(settings, messages(pending("ord-2"), status("ord-1", "completed")))
        await assigned(database, "ord-2")
        await second.kill()
    async with process("allocate", settings):
        await publish(settings, messages(pending("ord-3"), status("ord-2", "completed")))
        await assigned(database, "ord-3")
    await assert_as_the_rules_say(settings, database)


async def test_a_member_whose_id_is_taken_says_so_and_the_first_goes_on(
    settings: Settings, database: asyncpg.Connection
) -> None:
    settings = settings.model_copy(update={"member_id": "allocator-1"})
    async with allocating(settings) as first:
        await publish(settings, messages(wallet(1), pending("ord-1")))
        await assigned(database, "ord-1")
        second = await walletq("allocate", settings=settings, env={"WALLETQ_LOG_LEVEL": "error"})
        assert second.returncode == 1
        assert second.stderr.startswith("the member id allocator-1 is taken by another live process (")
        assert len(second.stderr.splitlines()) == 1
        assert not first.done()
        await publish(settings, messages(status("ord-1", "completed"), pending("ord-2")))
        await assigned(database, "ord-2")
    async with allocating(settings):  # the id is free again
        await publish(settings, messages(pending("ord-3")))
        await processed(settings, database, 5)


async def test_each_partition_records_from_where_on_which_catalogue_decided(
    settings: Settings, database: asyncpg.Connection, tmp_path: Path
) -> None:
    shipped = files("schemas").joinpath("catalogue.toml").read_text()
    bitcoin, ethereum = shipped.index("[currencies.BTC]"), shipped.index("[currencies.ETH]")
    (tmp_path / "another.toml").write_text(
        (shipped[:bitcoin] + shipped[ethereum:]).replace("expiry_minutes = 90", "expiry_minutes = 30")
    )
    another = settings.model_copy(update={"catalogue": tmp_path / "another.toml"})
    async with allocating(settings):
        await publish(settings, messages(wallet(1, "BTC"), pending("known", "BTC"), pending("ord-1")))
        await processed(settings, database, 3)
    async with allocating(settings):  # the same: nothing to record
        await publish(settings, messages(pending("ord-2")))
        await processed(settings, database, 4)
    async with allocating(another):
        await publish(settings, messages(status("known", "failed", "BTC"), pending("new", "BTC"), pending("ord-3")))
        await processed(settings, database, 7)
    rows = await database.fetch("SELECT partition, from_offset, sha256, content FROM catalogues")
    contents = [read_catalogue(settings.catalogue), read_catalogue(another.catalogue)]
    bitcoins, tethers = right_partition(b"BTC"), right_partition(b"USDT")
    assert {tuple(row) for row in rows} == {
        (partition, offset, catalogue.sha256, catalogue.content)
        for partition, offset, catalogue in (
            (bitcoins, 0, contents[0]),
            (bitcoins, 2, contents[1]),
            (tethers, 0, contents[0]),
            (tethers, 2, contents[1]),
        )
    }
    times = await database.fetch(
        "SELECT order_id, expires_at - pending_at AS expiry FROM orders WHERE currency = 'USDT'"
    )
    assert {row["order_id"]: row["expiry"] for row in times} == {
        "ord-1": timedelta(minutes=90),
        "ord-2": timedelta(minutes=90),
        "ord-3": timedelta(minutes=30),
    }
    # A currency that has gone takes no more orders, and a release is not refused.
    assert await database.fetchval("SELECT status FROM wallets") == "available"
    assert await database.fetchval("SELECT reason FROM dead_letters") == "unknown_currency"


async def test_partitions_that_the_group_gives_to_whoever_is_leaving_get_no_owner(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka lets a join that is under way come to its end, even when the consumer is told to stop."""
    given: list[frozenset[TopicPartition]] = []

    async def leave_after_a_join(consumer: AIOKafkaConsumer) -> None:
        given.append(consumer.assignment())
        await consumer._subscription.listener.on_partitions_assigned(given[-1])  # noqa: SLF001
        await leave(consumer)

    monkeypatch.setattr(handler, "leave", leave_after_a_join)
    with structlog.testing.capture_logs() as logs:
        async with allocating(settings):
            await until(lambda: any(entry["event"] == "place_taken" for entry in logs))
    assert given
    assert len(given[0]) == PARTITIONS
    owners = [task for task in asyncio.all_tasks() if task.get_name().startswith("owner of")]
    assert not owners, "owners that nobody stops"


async def test_a_member_that_the_group_refuses_comes_back_by_itself(
    settings: Settings, database: asyncpg.Connection
) -> None:
    group = names(settings).allocator_group
    async with allocating(settings):
        await shared(settings, PARTITIONS)
        with structlog.testing.capture_logs() as logs:
            async with taking_over(settings, group, names(settings).orders):
                await until(lambda: any(entry["event"] == "membership_lost" for entry in logs))
        await publish(settings, messages(wallet(1), pending("ord-1")))
        await assigned(database, "ord-1")
    await assert_as_the_rules_say(settings, database)
