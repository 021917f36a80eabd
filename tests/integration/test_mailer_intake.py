"""Where the mailer's consumer goes on, and what becomes of records that it cannot take."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.admin.records_to_delete import RecordsToDelete
from pydantic import SecretStr

from consumers.errors import LogDoesNotFit
from consumers.messages import partition_of
from schemas.settings import Settings, SettingsError
from schemas.topics import MAX_KEPT_BYTES, PARTITIONS, Names, names
from storage.errors import NotMigrated, ServerUnreachable, TopicMissing
from storage.kafka import admin_client, client_options
from tests.integration.mailer_world import TRACEPARENT, TRON, World, eventually, mailing, open_world
from tests.integration.outsiders import taking_over
from tests.servers.inbox import Inbox
from tests.servers.topics import consumed, largest_value
from tests.servers.wait import until


@pytest.fixture
async def world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    async with open_world(settings, database) as world:
        yield world


async def test_a_record_that_is_no_notification_is_a_dead_letter(world: World) -> None:
    await world.publish_bytes(b'{"type":"wallet_assigned"', b"ord-1")
    said = await world.assigned("ord-1")
    async with mailing(world.settings):
        await world.until(said, "sent")
        [letter] = await world.dead_letters(1)
        await eventually(lambda: _published(world))
    headers = dict(letter.headers)
    assert headers["__walletq.errors.reason"] == b"invalid_event"
    assert headers["__walletq.errors.topic"] == world.topic.encode()
    assert headers["__walletq.errors.offset"] == b"0"
    assert headers["__walletq.errors.message"].startswith(b"Invalid JSON")
    assert int(headers["__walletq.errors.timestamp"]) > 1_600_000_000_000
    assert headers["traceparent"] == TRACEPARENT.encode()
    assert (letter.key, letter.value) == (b"ord-1", b'{"type":"wallet_assigned"')


async def test_a_large_record_is_known_by_its_length_and_digest(world: World) -> None:
    value = b"x" * (MAX_KEPT_BYTES + 1)
    await world.publish_bytes(value, b"ord-1")
    await world.publish_bytes(None, b"ord-1")
    async with mailing(world.settings):
        large, empty = await world.dead_letters(2)
    headers = dict(large.headers)
    assert large.value is None
    assert headers["__walletq.errors.value.length"] == str(len(value)).encode()
    assert headers["__walletq.errors.value.sha256"] == hashlib.sha256(value).hexdigest().encode()
    assert empty.value is None
    assert "__walletq.errors.value.length" not in dict(empty.headers)


@pytest.mark.parametrize("value", [None, b"x" * (MAX_KEPT_BYTES + 1)], ids=["null", "large"])
async def test_a_record_of_which_neither_key_nor_value_is_there_stops_no_mailer(
    world: World, value: bytes | None
) -> None:
    await world.publish_bytes(value, None)
    said = await world.assigned("ord-1")
    async with mailing(world.settings):
        [letter] = await world.dead_letters(1)
        await world.until(said, "sent")
        await eventually(lambda: _published(world))
    assert (letter.key, letter.value) == (None, None)
    assert ("__walletq.errors.value.length" in dict(letter.headers)) == (value is not None)


async def test_a_key_that_is_too_large_for_a_dead_letter_is_left_out(world: World) -> None:
    large = bytes(largest_value(b"[]") - 100)  # with the headers of the record just what the broker takes
    partition = partition_of(large, PARTITIONS)
    beside = [key for n in range(200) if partition_of(key := f"ord-{n}".encode(), PARTITIONS) == partition]
    for key in (beside[0], large, beside[1]):
        await world.publish_bytes(b"[]", key)
    async with mailing(world.settings):
        await world.dead_letters(3)
        await eventually(lambda: _published(world))
    letters = await consumed(world.settings, Names.dead_letters(world.topic), partitions=1)
    assert [(letter.key, letter.value) for letter in letters] == [(beside[0], b"[]"), (None, b"[]"), (beside[1], b"[]")]


async def test_a_notification_of_an_unknown_assignment_is_a_dead_letter(world: World, inbox: Inbox) -> None:
    said = await world.order("ord-1")
    await world.publish(said.model_copy(update={"notification_id": uuid4()}))
    await world.publish(said.model_copy(update={"order_id": "ord-2"}))
    async with mailing(world.settings):
        letters = await world.dead_letters(2)
    assert {dict(letter.headers)["__walletq.errors.reason"] for letter in letters} == {b"unknown_assignment"}
    assert await inbox.mails() == []


async def test_a_restarted_mailer_goes_on_from_the_place_in_the_database(world: World, inbox: Inbox) -> None:
    first = await world.assigned("ord-1")
    async with mailing(world.settings):
        await world.until(first, "sent")
    second = await world.assigned("ord-2", address=f"{TRON[:-1]}g")
    async with mailing(world.settings):
        await world.until(second, "sent")
    assert len(await inbox.mails()) == 2
    assert await _total(world, "next_offset") == await _total(world, "applied") == 2


async def test_after_a_restore_of_the_database_nothing_is_skipped(world: World, inbox: Inbox) -> None:
    said = await world.assigned("ord-1")
    async with mailing(world.settings):
        await world.until(said, "sent")
    await world.database.execute("DELETE FROM deliveries")
    await world.database.execute("DELETE FROM partitions")
    async with mailing(world.settings):
        await world.until(said, "sent")
    assert len({mail["Message-ID"] for mail in await inbox.wait_for(2)}) == 1


async def test_a_mailer_whose_place_was_moved_by_another_reads_it_anew(world: World, inbox: Inbox) -> None:
    first = await world.assigned("ord-1")
    async with mailing(world.settings):
        await world.until(first, "sent")
        await world.database.execute("DELETE FROM deliveries")
        await world.database.execute("UPDATE partitions SET next_offset = 0")
        second = await world.order("ord-1-later", address=f"{TRON[:-1]}g")
        await world.producer.send_and_wait(world.topic, second.model_dump_json().encode(), key=b"ord-1")
        await world.until(second, "sent")
        await world.until(first, "sent")
        await eventually(lambda: _total_is(world, "next_offset", 2))
    assert len(await inbox.mails()) == 3


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE partitions SET next_offset = 1000", "the log ends at"),
        ("UPDATE partitions SET cluster_id = 'another'", "the Kafka cluster another"),
        ("UPDATE partitions SET partition_count = 24", "12 partitions, and had 24"),
    ],
)
async def test_a_mailer_refuses_to_run_on_a_log_that_does_not_fit(world: World, damage: str, found: str) -> None:
    said = await world.assigned("ord-1")
    async with mailing(world.settings):
        await world.until(said, "sent")
    await world.database.execute(damage)
    with pytest.raises(LogDoesNotFit, match=found) as caught:
        async with mailing(world.settings) as mailer:
            await eventually(lambda: _done(mailer.done()), 25)
    assert caught.value.exit_code == 1


async def test_more_partitions_end_a_mailer_that_is_at_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def attentive(settings: Settings) -> dict[str, Any]:
        return client_options(settings) | {"metadata_max_age_ms": 100}

    async def ended_by_more_partitions(mailer: "asyncio.Task[None]") -> None:
        await world.until(said, "sent")
        async with admin_client(world.settings) as admin:
            await admin.create_partitions({world.topic: NewPartitions(PARTITIONS + 1)}, timeout_ms=10_000)
        await eventually(lambda: _done(mailer.done()))

    monkeypatch.setattr("consumers.mailer.handler.client_options", attentive)
    monkeypatch.setattr("consumers.mailer.intake.MISFIT_SECONDS", 0.5)
    said = await world.assigned("ord-1")
    with pytest.raises(LogDoesNotFit, match=f"has {PARTITIONS + 1} partitions, and had {PARTITIONS} at first"):
        async with mailing(world.settings) as mailer:
            await ended_by_more_partitions(mailer)


async def test_a_log_that_begins_after_the_place_is_refused(world: World) -> None:
    said = await world.assigned("ord-1")
    async with mailing(world.settings):
        delivery = await world.until(said, "sent")
    await world.database.execute("UPDATE partitions SET next_offset = 0")
    async with admin_client(world.settings) as admin:
        await admin.delete_records(
            {TopicPartition(world.topic, delivery["partition"]): RecordsToDelete(before_offset=1)}
        )
    with pytest.raises(LogDoesNotFit, match="the log starts at offset 1"):
        async with mailing(world.settings) as mailer:
            await eventually(lambda: _done(mailer.done()), 25)


async def test_a_server_that_cannot_be_reached_at_the_start_is_named(settings: Settings) -> None:
    with pytest.raises(ServerUnreachable, match="WALLETQ_KAFKA_BOOTSTRAP_SERVERS"):
        async with mailing(settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})) as mailer:
            await eventually(lambda: _done(mailer.done()))
    url = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(ServerUnreachable, match="WALLETQ_DATABASE_URL"):
        async with mailing(settings.model_copy(update={"database_url": url})) as mailer:
            await eventually(lambda: _done(mailer.done()))


async def test_what_is_missing_at_the_start_is_named(settings: Settings, database: asyncpg.Connection) -> None:
    with pytest.raises(TopicMissing, match="other-wallet-notifications"):
        async with mailing(settings.model_copy(update={"topic_prefix": "other-"})) as mailer:
            await eventually(lambda: _done(mailer.done()))
    with pytest.raises(SettingsError, match="WALLETQ_MAIL_FROM"):
        async with mailing(settings.model_copy(update={"mail_from": "nobody"})) as mailer:
            await eventually(lambda: _done(mailer.done()))
    with pytest.raises(SettingsError, match=f"WALLETQ_SMTP_TLS_CAFILE: {__file__} cannot be read: no certificates"):
        async with mailing(settings.model_copy(update={"smtp_tls_cafile": Path(__file__)})) as mailer:
            await eventually(lambda: _done(mailer.done()))
    with pytest.raises(SettingsError, match=r"WALLETQ_SMTP_TLS_CAFILE: missing\.pem cannot be read: No such file"):
        async with mailing(settings.model_copy(update={"smtp_tls_cafile": Path("missing.pem")})) as mailer:
            await eventually(lambda: _done(mailer.done()))
    await database.execute("DROP TABLE schema_migrations")
    with pytest.raises(NotMigrated):
        async with mailing(settings) as mailer:
            await eventually(lambda: _done(mailer.done()))


async def _done(done: bool) -> bool:
    return done


async def _published(world: World) -> bool:
    return not await world.database.fetchval("SELECT count(*) FROM dead_letters WHERE awaits_publishing")


async def _total(world: World, column: str) -> int:
    row = await world.database.fetchrow(
        "SELECT sum(next_offset)::int AS next_offset, sum(applied)::int AS applied FROM partitions WHERE topic = $1",
        world.topic,
    )
    assert row is not None
    total: int = row[column]
    return total


async def _total_is(world: World, column: str, total: int) -> bool:
    return await _total(world, column) == total


async def test_a_mailer_that_the_group_refuses_comes_back_by_itself(world: World) -> None:
    first = await world.assigned("ord-1")
    async with mailing(world.settings):
        await world.until(first, "sent")
        with structlog.testing.capture_logs() as logs:
            async with taking_over(world.settings, names(world.settings).mailer_group, world.topic):
                await until(lambda: any(entry.get("during") == "consuming" for entry in logs))
        await world.until(await world.assigned("ord-2", address="TN3W4H6rK2ce4vX9YnFQHwKENnHjoxb3m9"), "sent")
