"""`walletq verify` on what real consumers have made: all holds, and each thing that is then broken is found."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from consumers.allocator import run_allocator
from consumers.mailer import run_mailer
from operations.verify import check, until_drained
from operations.verify.finding import Finding
from producers.publisher import Publisher
from schemas.events import Event, parse_event
from schemas.examples import EXAMPLES
from schemas.settings import Settings
from schemas.topics import names, topics
from storage.database import connect
from storage.kafka import admin_client, client_options
from storage.topics import create_topics
from tests.integration.commands import CommandLine
from tests.servers.databases import Databases
from tests.servers.embedded import run_alone
from tests.servers.servers import Servers
from tests.servers.wait import until

PENDING = EXAMPLES["order_status_changed"][0] | {"expires_at": "2990-01-01T00:00:00Z"}
ADDED = EXAMPLES["wallet_added"][0]
SECOND_ASSIGNMENT = (
    "INSERT INTO assignments SELECT gen_random_uuid(), partition, {offset}, {offset} + 1, currency, network, address,"
    " '{order}', waited, assigned_at, assigned_at FROM assignments WHERE order_id = 'b'"
)

# What is broken: the invariant, words of its promise, how.
BROKEN = [
    ("I1", "overlap", "UPDATE assignments SET released_offset = released_offset + 100 WHERE order_id = 'a'"),
    ("I1", "agree on who holds", "UPDATE wallets SET order_id = 'ghost' WHERE order_id = 'b'"),
    ("I1", "know their open", "UPDATE wallets SET assigned_offset = assigned_offset + 1 WHERE order_id = 'b'"),
    ("I2", "at most one", f"DROP INDEX order_has_one_assignment; {SECOND_ASSIGNMENT.format(offset=1000, order='b')}"),
    ("I2", "has its order", SECOND_ASSIGNMENT.format(offset=1000, order="ghost")),
    (
        "I3",
        "free wallet",
        "INSERT INTO wallets (currency, network, address, status, free_place, added_offset)"
        " VALUES ('USDT', 'TRC-20', 'idle', 'available', 1000, 1000)",
    ),
    ("I4", "first in", "UPDATE orders SET pending_offset = 0, queue_place = 0 WHERE order_id = 'c'"),
    ("I4", "whether their order waited", "UPDATE assignments SET waited = NOT waited WHERE order_id = 'a'"),
    ("log", "belong", "UPDATE partitions SET cluster_id = 'another'"),
    ("log", "belong", "UPDATE partitions SET next_offset = 1000 WHERE next_offset > 0"),
    ("I5", "equals a replay", "UPDATE orders SET email = 'bob@example.com' WHERE order_id = 'a'"),
    ("I5", "equals a replay", "UPDATE partitions SET applied = applied + 1, no_effect = no_effect - 1"),
    ("I5", "equals a replay", "DELETE FROM orders WHERE order_id = 'early'"),
    ("I5", "equals a replay", "DELETE FROM catalogues"),
    ("I6", "every record", "UPDATE partitions SET applied = applied + 1 WHERE applied > 0"),
    ("I6", "as counted", "DELETE FROM dead_letters"),
    ("I6", "as it was", "DELETE FROM dead_letters"),
    ("I6", "as it was", "UPDATE dead_letters SET reason = 'another'"),
    ("I6", "as it was", "UPDATE dead_letters SET value = '{}', value_length = 2"),
    ("I6", "as it was", 'UPDATE dead_letters SET "offset" = 0'),
    ("I7", "has its notification", SECOND_ASSIGNMENT.format(offset=0, order="c")),
    ("I7", "say what", "DELETE FROM dead_letters WHERE topic LIKE '%notifications'"),
    ("I7", "say what", "UPDATE orders SET amount = '11' WHERE order_id = 'a'"),
    ("I7", "say what", "DELETE FROM assignments WHERE order_id = 'a'"),
    ("I8", "has a delivery", "DELETE FROM deliveries WHERE order_id = 'b'"),
    (
        "I8",
        "next attempt",
        "ALTER TABLE deliveries DROP CONSTRAINT live_delivery_has_a_next_attempt;"
        " UPDATE deliveries SET state = 'due', next_attempt_at = NULL WHERE order_id = 'b'",
    ),
    ("I8", "next attempt", "UPDATE deliveries SET state = 'due', next_attempt_at = 'infinity' WHERE order_id = 'b'"),
    ("I8", "below the places", "UPDATE deliveries SET \"offset\" = 1000 WHERE kind = 'queued'"),
    ("I8", "that came there", "UPDATE deliveries SET \"offset\" = 0 WHERE order_id = 'c'"),
    ("I8", "none was due", "UPDATE deliveries SET state = 'superseded' WHERE order_id = 'c'"),
    ("I8", "below the places", "DELETE FROM partitions WHERE topic LIKE '%notifications'"),
    ("I8", "none was due", "UPDATE deliveries SET state = 'superseded' WHERE order_id = 'b' AND kind = 'assigned'"),
    ("I8", "none was due", "UPDATE deliveries SET state = 'expired' WHERE order_id = 'b'"),
    ("I9", "show the address", "UPDATE deliveries SET address = 'another' WHERE kind = 'assigned'"),
    (
        "I9",
        "cool-down",
        "UPDATE catalogues SET content ="
        " jsonb_set(content::jsonb, '{currencies,USDT,cool_down_minutes}', '10'::jsonb)::text;"
        " UPDATE deliveries SET sent_at = released_at + interval '10 minutes' FROM assignments"
        " WHERE notification_id = assignment_id AND deliveries.order_id = 'a'",
    ),
    (
        "I10",
        "drained",
        "UPDATE deliveries SET state = 'due', next_attempt_at = now() - interval '2 minutes' WHERE order_id = 'b'",
    ),
    ("I10", "drained", "UPDATE partitions SET published_offset = 0"),
    ("I10", "drained", "UPDATE partitions SET next_offset = 0, published_offset = 0"),
]


async def test_everything_holds_after_real_work(world: Settings) -> None:
    findings = await check(world, drained=True)
    assert violated(findings) == []
    assert [finding for finding in findings if finding.result == "not checked"] == []
    over = {finding.promise: finding.over for finding in findings}
    assert over["the database equals a replay of the log"] == "8 records, 20 rows"
    assert over["every record was applied, had no effect, or is a dead letter"] == "8 records"
    assert over["notifications say what the database says"] == "4 notifications, 1 of them duplicates"
    assert over["mails show the address of their assignment"] == "4 deliveries"


@pytest.mark.parametrize(("invariant", "promise", "broken"), BROKEN)
async def test_what_does_not_hold_is_found(
    world: Settings, servers: Servers, invariant: str, promise: str, broken: str
) -> None:
    async with copied(world, servers) as (settings, database):
        await database.execute(broken)
        found = violated(await check(settings, drained=True))
    assert [finding for finding in found if finding.invariant == invariant and promise in finding.promise], found
    assert all(finding.offenders for finding in found)


async def test_everything_holds_after_a_mail_was_settled(world: Settings, servers: Servers, tmp_path: Path) -> None:
    async with copied(world, servers) as (settings, database):
        row = await database.fetchrow(
            "UPDATE deliveries SET state = 'held', outcome = 'unknown', address = NULL, sent_at = NULL,"
            " updated_at = released_at + interval '1 hour' FROM assignments"
            " WHERE notification_id = assignment_id AND deliveries.order_id = 'a'"
            " RETURNING notification_id, assigned_at"
        )
        walletq = CommandLine(settings, tmp_path)
        settle = ("deliveries", "settle", str(row["notification_id"]))
        guessed = await walletq.run(*settle)
        assert guessed.code == 1
        assert "say --at" in guessed.err
        settled = await walletq.run(*settle, "--at", row["assigned_at"].isoformat())
        assert settled.code == 0, settled.err
        assert violated(await check(settings, drained=True)) == []
        await database.execute(
            "UPDATE catalogues SET content ="
            " jsonb_set(content::jsonb, '{currencies,USDT,cool_down_minutes}', '10'::jsonb)::text"
        )
        assert violated(await check(settings, replay=False)) == []


async def test_what_cannot_be_checked_is_said(world: Settings, servers: Servers) -> None:
    async with copied(world, servers) as (settings, database):
        await database.execute("UPDATE partitions SET cluster_id = 'another'")
        findings = await check(settings)
    assert {finding.invariant for finding in findings} == {"log", *(f"I{number}" for number in range(1, 11))}
    unchecked = {finding.invariant for finding in findings if finding.result == "not checked"}
    assert unchecked == {"I5", "I6", "I7", "I8", "I10"}


async def test_replay_can_be_left_out(world: Settings, servers: Servers) -> None:
    async with copied(world, servers) as (settings, database):
        await database.execute("UPDATE orders SET email = 'bob@example.com'")
        findings = await check(settings, replay=False)
    assert violated(findings) == []
    (left_out,) = (finding for finding in findings if finding.invariant == "I5")
    assert (left_out.result, left_out.note) == ("not checked", "left out (--without-replay)")


async def test_lag_is_only_noted_where_it_is_not_asked_about(world: Settings, servers: Servers) -> None:
    async with copied(world, servers) as (settings, database):
        await database.execute("UPDATE partitions SET published_offset = 0")
        findings = await check(settings)
        assert not await until_drained(settings, seconds=0)
    assert violated(findings) == []
    assert [finding.invariant for finding in findings if finding.result == "noted"] == ["I10"]


def violated(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.result == "violated"]


@pytest.fixture(scope="module")
def world(servers: Servers, databases: Databases) -> Iterator[Settings]:
    """What consumers have made of a few events, once for all tests: they look at it, and break copies of it."""
    settings = Settings(
        kafka_bootstrap_servers=servers.kafka_bootstrap_servers,
        database_url=SecretStr(run_alone(databases.create())),
        smtp_url=SecretStr(servers.smtp_url),
        topic_prefix=f"v{uuid.uuid4().hex[:12]}-",
        session_timeout_ms=6_000,
        mail_queued=True,
        mail_queued_after_seconds=0,
    )
    try:
        run_alone(_work(settings))
        yield settings
    finally:
        run_alone(_delete_topics(settings))
        run_alone(databases.drop(settings.need_database()))


async def _work(settings: Settings) -> None:
    await create_topics(settings)
    stop = asyncio.Event()
    processes = [asyncio.create_task(run(settings, stop)) for run in (run_allocator, run_mailer)]
    try:
        async with Publisher(settings) as publisher:
            await publisher.publish_many([event(ADDED), event(PENDING, order_id="a"), event(PENDING, order_id="b")])
            await until(lambda: _mails(settings, 2))  # b has the one that it waits
            await publisher.publish_many([event(PENDING, order_id="c"), final("a"), final("a"), final("early")])
            await publisher.publish(event(PENDING, order_id="ghost", status="paid"))  # a dead letter
        await until(lambda: _mails(settings, 4))
        await _send_in_transactions(settings)
        assert await until_drained(settings, 30)
    finally:
        stop.set()
        await asyncio.gather(*processes)


async def _mails(settings: Settings, count: int) -> bool:
    database = await connect(settings.need_database())
    try:
        return bool(await database.fetchval("SELECT count(*) >= $1 FROM deliveries WHERE state = 'sent'", count))
    finally:
        await database.close()


async def _send_in_transactions(settings: Settings) -> None:
    """A duplicate, what is no notification, and an aborted transaction: neither record nor lag, only a gap."""
    of = names(settings)
    database = await connect(settings.need_database())
    row = await database.fetchrow(
        "SELECT a.*, o.amount, o.expires_at FROM assignments a JOIN orders o USING (currency, order_id) LIMIT 1"
    )
    await database.close()
    fields = ("order_id", "currency", "network", "address", "amount", "waited")
    duplicate: dict[str, Any] = {"type": "wallet_assigned", "notification_id": str(row["assignment_id"]), "new": 1}
    duplicate |= {field: row[field] for field in fields}
    duplicate |= {field: row[field].isoformat() for field in ("assigned_at", "expires_at")}
    producer = AIOKafkaProducer(**client_options(settings), transactional_id=of.prefix + "test")
    async with producer:
        async with producer.transaction():
            await producer.send_and_wait(of.notifications, json.dumps(duplicate).encode(), row["order_id"].encode())
            await producer.send_and_wait(of.notifications, b"of somebody else", b"somebody")
        await producer.begin_transaction()
        for topic in (of.orders, of.notifications):
            await producer.send_and_wait(topic, b"aborted", b"USDT")
        await producer.abort_transaction()


async def _delete_topics(settings: Settings) -> None:
    async with admin_client(settings) as admin:
        await admin.delete_topics([topic.name for topic in topics(settings)])


@asynccontextmanager
async def copied(world: Settings, servers: Servers) -> AsyncIterator[tuple[Settings, asyncpg.Connection]]:
    """The same topics with a copy of the database, and a superuser's connection to it."""
    url = world.need_database()
    name = f"walletq_copy_{uuid.uuid4().hex[:12]}"
    admin = await connect(servers.database_admin_url)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {url.rsplit('/', 1)[1]}")
        copy = url.rsplit("/", 1)[0] + "/" + name
        database = await connect(copy)
        try:
            yield world.model_copy(update={"database_url": SecretStr(copy)}), database
        finally:
            await database.close()
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


def event(base: dict[str, Any], **changes: Any) -> Event:
    return parse_event(json.dumps(base | changes).encode()).event


def final(order_id: str) -> Event:
    return event({"type": "order_status_changed", "currency": "USDT", "order_id": order_id, "status": "completed"})
