"""The servers and fixtures that every other test relies on."""

import smtplib
from email.message import EmailMessage
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import SecretStr

from schemas.settings import Settings
from schemas.topics import names
from storage.database import connect
from storage.kafka import client_options
from storage.migrations import check_migrated
from storage.topics import check_topics
from tests.servers.inbox import Inbox
from tests.servers.processes import process, walletq
from tests.servers.servers import Servers
from tests.servers.wait import until


async def test_topics_are_as_the_contract_says(settings: Settings) -> None:
    assert await check_topics(settings) == []


async def test_what_is_produced_is_consumed(settings: Settings) -> None:
    place = await produce(settings, b"one")
    assert await consume(settings, place) == [b"one"]


async def test_database_is_migrated_empty_and_ours_alone(settings: Settings, database: asyncpg.Connection) -> None:
    await check_migrated(database)
    assert await database.fetchval("SELECT count(*) FROM orders") == 0
    assert await database.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    assert settings.need_database().endswith(await database.fetchval("SELECT current_database()"))


async def test_mail_arrives_in_the_inbox_of_its_sender(settings: Settings, inbox: Inbox) -> None:
    assert await inbox.mails() == []
    send(settings, settings.mail_from, "ours")
    send(settings, "walletq <somebody.else@walletq.example>", "not ours")
    send(settings, settings.mail_from, "ours too")
    mails = await inbox.wait_for(2)
    assert [mail["Subject"] for mail in mails] == ["ours", "ours too"]
    assert [mail.get_content().strip() for mail in mails] == ["Привет", "Привет"]


async def test_inbox_says_how_many_mails_came(inbox: Inbox) -> None:
    with pytest.raises(AssertionError, match="for 1 mails; 0 arrived"):
        await inbox.wait_for(1, timeout=0.1)


async def test_kafka_keeps_what_it_acknowledged_over_a_crash(servers: Servers, settings: Settings) -> None:
    place = await produce(settings, b"before")
    await servers.kill("kafka")
    await servers.start("kafka")
    assert await produce(settings, b"after") == place
    assert await consume(settings, place, 2) == [b"before", b"after"]


async def test_postgres_keeps_what_it_committed_over_a_crash(
    servers: Servers, settings: Settings, database: asyncpg.Connection
) -> None:
    await database.execute("CREATE TABLE kept AS SELECT 'before' AS value")
    await servers.kill("postgres")
    await until(database.is_closed, what="the connection's end")
    await servers.start("postgres")
    again = await connect(settings.need_database())
    try:
        assert await again.fetchval("SELECT value FROM kept") == "before"
    finally:
        await again.close()


async def test_a_paused_server_answers_after_it(servers: Servers, database: asyncpg.Connection) -> None:
    await servers.pause("postgres")
    with pytest.raises(TimeoutError):
        await database.fetchval("SELECT 1", timeout=0.3)
    await servers.unpause("postgres")
    assert await database.fetchval("SELECT 1") == 1


async def test_inbox_takes_mails_after_a_crash(servers: Servers, settings: Settings, inbox: Inbox) -> None:
    await servers.kill("inbox")
    with pytest.raises(OSError, match="refused"):
        send(settings, settings.mail_from, "lost")
    await servers.start("inbox")
    send(settings, settings.mail_from, "after")
    assert [mail["Subject"] for mail in await inbox.wait_for(1)] == ["after"]


async def test_command_runs_with_the_settings_and_says_how_it_ended(settings: Settings) -> None:
    assert (await walletq("topics", "check", settings=settings)).returncode == 0
    elsewhere = settings.model_copy(update={"topic_prefix": "no-such-"})
    checked = await walletq("topics", "check", settings=elsewhere)
    assert checked.returncode == 1
    assert "no-such-order-status" in checked.stdout + checked.stderr


async def test_process_is_killed_and_paused_and_ends_with_its_block(settings: Settings) -> None:
    async with process("clock", settings) as first, process("clock", settings) as second:
        await first.kill()
        second.pause()
        assert not first.alive
        assert second.alive
    assert not second.alive


async def test_process_that_ends_by_itself_fails_its_block_and_shows_its_log(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": SecretStr("postgresql://nobody@127.0.0.1:1/none")})
    with pytest.raises(AssertionError, match="ended by itself with the exit code 3") as failure:
        async with process("migrate", nowhere) as running:
            await until(lambda: not running.alive, what="its end")
    assert "WALLETQ_DATABASE_URL" in failure.value.__notes__[0]


async def produce(settings: Settings, value: bytes) -> TopicPartition:
    """Send one record, and return its topic and partition."""
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        sent = await producer.send_and_wait(names(settings).orders, value, key=b"USDT")
    return TopicPartition(sent.topic, sent.partition)


async def consume(settings: Settings, place: TopicPartition, count: int = 1) -> list[bytes | None]:
    """The first records there."""
    async with AIOKafkaConsumer(**client_options(settings), auto_offset_reset="earliest") as consumer:
        consumer.assign([place])
        return [(await consumer.getone()).value for _ in range(count)]


def send(settings: Settings, sender: str, subject: str) -> None:
    """Hand a mail over to the mail server."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, "ann@example.com", subject
    mail.set_content("Привет\n")
    url = urlsplit(settings.need_smtp())
    with smtplib.SMTP(url.hostname or "", url.port or 25) as smtp:
        smtp.send_message(mail)
