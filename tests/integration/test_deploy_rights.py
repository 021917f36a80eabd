"""The rights that deploy/ grants in Kafka and PostgreSQL are enough for each process, and no more than it needs."""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import yaml
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from pydantic import SecretStr

from schemas.settings import Settings
from schemas.topics import names
from storage.database import connect
from storage.kafka import admin_client, client_options
from tests.servers.choice import choose
from tests.servers.endpoint import Endpoint, free_port
from tests.servers.guarded_kafka import GuardedKafka, guarded_kafka
from tests.servers.inbox import Inbox
from tests.servers.processes import process, walletq
from tests.servers.wait import until

DEPLOY = Path(__file__).parents[2] / "deploy"
LOGINS = ("owner", "allocator", "mailer", "clock", "operator", "keda")
WALLET = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"

Of = Callable[..., Settings]
"The settings of a principal of Kafka, and of a login of PostgreSQL where it has one."


@pytest.fixture
async def kafka(tmp_path: Path) -> AsyncIterator[GuardedKafka]:
    """A broker that grants what deploy/kafka says."""
    if choose(os.environ) != "embedded":
        pytest.skip("it needs an embedded Kafka of its own")
    async with guarded_kafka(tmp_path) as kafka:
        yield kafka


@pytest.fixture
async def logins(settings: Settings) -> AsyncIterator[dict[str, SecretStr]]:
    """The URL of each login in an empty database: as deploy/postgres has them, with passwords."""
    admin = await connect(settings.need_database())
    try:
        await admin.execute("DROP SCHEMA public CASCADE")
        await admin.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")  # as in a new database
        sql = (DEPLOY / "postgres" / "logins.sql").read_text()
        await admin.execute(sql)
        await admin.execute(sql)  # again does no harm
        password = uuid.uuid4().hex
        for login in LOGINS:
            await admin.execute(f"ALTER ROLE walletq_{login}_login PASSWORD '{password}'")
        url = urlsplit(settings.need_database())
        yield {
            login: SecretStr(
                urlunsplit(url._replace(netloc=f"walletq_{login}_login:{password}@{url.hostname}:{url.port}"))
            )
            for login in LOGINS
        }
    finally:
        # Roles are the whole server's: the next test's would find them.
        roles = ", ".join(f"walletq_{login}_login" for login in LOGINS)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'walletq_%_login'"
        )
        await admin.execute(f"REASSIGN OWNED BY {roles} TO CURRENT_USER")
        await admin.execute(f"DROP OWNED BY {roles}")
        await admin.execute(f"DROP ROLE {roles}")
        admin.terminate()


@pytest.mark.timeout(600)
async def test_each_process_needs_only_its_own_rights(
    settings: Settings, kafka: GuardedKafka, logins: dict[str, SecretStr], inbox: Inbox
) -> None:
    def of(principal: str, login: str | None = None) -> Settings:
        database_url = logins[login] if login else None
        return kafka.as_principal(settings, f"walletq-{principal}").model_copy(update={"database_url": database_url})

    operator, upstream = of("operator", "operator"), of("upstream")
    await does("migrate", settings=of("setup", "owner"))
    await does("topics", "create", settings=of("setup", "owner"))
    await does("topics", "check", settings=of("setup", "owner"))
    async with connected(logins["owner"]) as owner:
        await owner.execute((DEPLOY / "postgres" / "keda.sql").read_text())

    endpoint = Endpoint(free_port())
    async with (
        process("allocate", of("allocator", "allocator").model_copy(update={"member_id": "allocator-1"})),
        process("mail", of("mailer", "mailer").model_copy(update={"mail_queued": True})),
        process("clock", of("clock", "clock"), env={"WALLETQ_HTTP_PORT": str(endpoint.port)}),
    ):
        await does("wallets", "add", "--currency", "USDT", "--network", "TRC-20", WALLET, settings=operator)
        await does("publish", "-", settings=upstream, given=pending("first"))
        await inbox.wait_for(1)
        assert await notified(upstream) == "first"
        await does("order", "set-status", "first", "completed", "--wait", settings=operator)
        await does("publish", "-", settings=upstream, given=pending("late", timedelta(seconds=-1)))
        async with connected(logins["operator"]) as database:
            await until(lambda: ended(database, "late"), what="the clock to end an order that is late")
        for command in (("status",), ("why", "late"), ("deliveries", "list"), ("dead-letters", "list")):
            await does(*command, settings=operator)
        await does("topics", "check", settings=operator)
        await does("verify", "--wait", "30", settings=operator)
        assert await lag_is_read(of("keda"))
        await until(lambda: sees_notifications(endpoint, of("clock")), what="the clock to see where topics end")
    await can_no_more(of, logins)
    async with connected(logins["owner"]) as owner:
        await owner.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await does("migrate", settings=of("setup", "owner"))
    await does("replay", "--rebuild", settings=operator, code=1)
    await does("replay", "--rebuild", settings=of("operator", "owner"))


async def can_no_more(of: Of, logins: dict[str, SecretStr]) -> None:
    """What would be somebody else's to do is refused."""
    for stranger in ("allocator", "mailer"):
        await does("publish", "-", settings=of(stranger), given=pending("forged"), code=1)
    with pytest.raises(TopicAuthorizationFailedError):
        await read_one(of("upstream"), names(of("upstream")).orders, "upstream-shop")
    with pytest.raises(GroupAuthorizationFailedError):
        await read_one(of("upstream"), names(of("upstream")).notifications, "walletq-mailer")
    refused = {
        "mailer": "UPDATE wallets SET status = 'available'",
        "allocator": "DELETE FROM assignments",
        "clock": "UPDATE orders SET status = 'paid'",
        "operator": "DELETE FROM dead_letters",
        "keda": "SELECT order_id FROM deliveries",
    }
    for login, statement in refused.items():
        async with connected(logins[login]) as database:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await database.execute(statement)
    scaler = yaml.safe_load_all((DEPLOY / "kubernetes" / "keda" / "mailer.yaml").read_text())
    (trigger,) = next(scaler)["spec"]["triggers"]
    async with connected(logins["keda"]) as database:
        assert await database.fetchval(trigger["metadata"]["query"]) == 0


async def does(*command: str, settings: Settings, given: str = "", code: int = 0) -> None:
    """The command ends with this exit code."""
    done = await walletq(*command, settings=settings, input=given)
    assert done.returncode == code, done.stdout + done.stderr


def pending(order: str, expires_in: timedelta = timedelta(hours=1)) -> str:
    now = datetime.now(UTC)
    event = {
        "type": "order_status_changed",
        "event_id": str(uuid.uuid4()),
        "order_id": order,
        "currency": "USDT",
        "network": "TRC-20",
        "status": "pending",
        "amount": "250.00",
        "recipient": {"email": f"{order}@example.com", "locale": "en"},
        "expires_at": (now + expires_in).isoformat(),
        "occurred_at": now.isoformat(),
    }
    return json.dumps(event) + "\n"


@asynccontextmanager
async def connected(url: SecretStr) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(url.get_secret_value())
    try:
        yield connection
    finally:
        await connection.close()


async def ended(database: asyncpg.Connection, order: str) -> bool:
    return bool(await database.fetchval("SELECT status = 'cancelled' FROM orders WHERE order_id = $1", order))


async def notified(upstream: Settings) -> str:
    """The order of the first notification, read as a service that shows addresses does."""
    value = await read_one(upstream, names(upstream).notifications, "upstream-shop")
    return str(json.loads(value)["order_id"])


async def read_one(settings: Settings, topic: str, group: str) -> bytes:
    consumer = AIOKafkaConsumer(topic, **client_options(settings), group_id=group, auto_offset_reset="earliest")
    async with asyncio.timeout(30), consumer:
        value: bytes = (await consumer.getone()).value
        return value


async def sees_notifications(clock: Endpoint, settings: Settings) -> bool:
    """Whether it is told where the topic ends that it does not publish to."""
    topic = names(settings).notifications
    return await clock.metric("walletq_topic_next_offset", topic=topic) is not None


async def lag_is_read(keda: Settings) -> bool:
    """How KEDA has it: the committed offsets of the group."""
    of = names(keda)

    async def committed() -> bool:
        async with admin_client(keda) as admin:
            offsets = await admin.list_consumer_group_offsets(of.allocator_group)
        return any(tp.topic == of.orders and place.offset > 0 for tp, place in offsets.items())

    return await until(committed, what="the allocator's committed offsets")
