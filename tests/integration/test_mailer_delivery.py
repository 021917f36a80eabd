"""The mailer on real Kafka, PostgreSQL and SMTP: from a notification to a mail."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from pydantic import SecretStr

from consumers.mailer.terms import Terms
from schemas.catalogue import read_catalogue
from schemas.settings import Settings
from tests.integration.mailer_world import (
    TRACEPARENT,
    TRON,
    MoodyServer,
    World,
    eventually,
    mailing,
    open_world,
    serving,
)
from tests.servers.inbox import Inbox
from tests.servers.wait import until


@pytest.fixture
async def world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    async with open_world(settings, database) as world:
        yield world


async def test_a_notification_becomes_a_mail_with_the_address(world: World, inbox: Inbox) -> None:
    said = await world.assigned("ord-1", locale="ru-RU")
    async with mailing(world.settings):
        [mail] = await inbox.wait_for(1)
        delivery = await world.until(said, "sent")
    part = mail.get_body(("plain",))
    assert part is not None
    text = part.get_content()
    assert TRON in text.splitlines()
    assert "Здравствуйте" in text
    assert mail["To"] == "ord-1@example.com"
    assert mail["Message-ID"] == f"<{said.notification_id}@walletq.example>"
    assert (delivery["address"], delivery["attempts"], delivery["traceparent"]) == (TRON, 1, TRACEPARENT)
    assert delivery["sent_at"] <= datetime.now(UTC)


async def test_a_duplicate_notification_makes_no_second_mail(world: World, inbox: Inbox) -> None:
    said = await world.order("ord-1")
    await world.publish(said, said)
    last = await world.assigned("ord-1-next", address=f"{TRON[:-1]}g")
    await world.publish(said)
    async with mailing(world.settings):
        await world.until(said, "sent")
        await world.until(last, "sent")
        await eventually(lambda: _counted(world, 4))
    assert len(await inbox.mails()) == 2
    counts = await world.database.fetchrow(
        "SELECT sum(applied) AS applied, sum(no_effect) AS no_effect FROM partitions WHERE topic = $1", world.topic
    )
    assert counts is not None
    assert dict(counts) == {"applied": 2, "no_effect": 2}


async def test_a_mail_to_an_order_that_has_ended_is_superseded(world: World, inbox: Inbox) -> None:
    ended, live = await world.order("ord-1"), await world.order("ord-2", address=f"{TRON[:-1]}g")
    await world.release(ended)
    await world.publish(ended, live)
    async with mailing(world.settings):
        await world.until(ended, "superseded")
        await world.until(live, "sent")
    assert [mail["To"] for mail in await inbox.mails()] == ["ord-2@example.com"]


async def test_no_mail_goes_out_after_the_order_expired(world: World, inbox: Inbox) -> None:
    late = await world.assigned("ord-1", expires_in=timedelta(seconds=-1))
    async with mailing(world.settings):
        await world.until(late, "expired")
    assert await inbox.mails() == []


async def test_two_mailers_share_the_work_and_send_each_mail_once(world: World, inbox: Inbox) -> None:
    said = [await world.order(f"ord-{n}", address=f"{TRON[:-3]}{n:03}") for n in range(60)]
    async with mailing(world.settings), mailing(world.settings):
        await world.publish(*said)
        await inbox.wait_for(60)
        for one in said:
            await world.until(one, "sent")
    mails = await inbox.mails()
    assert len(mails) == 60
    assert {mail["Message-ID"] for mail in mails} == {f"<{one.notification_id}@walletq.example>" for one in said}


async def test_a_mailer_that_is_told_to_stop_finishes_its_mails_and_leaves_nothing_under_lease(world: World) -> None:
    async with serving(MoodyServer()) as server:
        said = [await world.assigned(f"ord-{n}", address=f"{TRON[:-3]}{n:03}") for n in range(30)]
        settings = world.settings.model_copy(update={"smtp_url": SecretStr(server.url)})
        async with mailing(settings):
            await eventually(lambda: _some(server))
    states = await world.database.fetch("SELECT state, count(*) AS n FROM deliveries GROUP BY state")
    found = {row["state"]: row["n"] for row in states}
    assert found.get("sending", 0) == 0
    assert found.get("sent", 0) == len(server.envelopes)
    assert len(said) >= len(server.envelopes) >= 1


async def test_no_more_mails_are_in_flight_than_there_are_connections(world: World) -> None:
    async with serving(MoodyServer(data=["hang"] * 9)) as server:
        for n in range(9):
            await world.assigned(f"ord-{n}", address=f"{TRON[:-3]}{n:03}")
        settings = world.settings.model_copy(update={"smtp_url": SecretStr(server.url), "mail_connections": 3})
        async with mailing(settings, terms=replace(Terms.of(settings, read_catalogue()), stop_seconds=0.5)):
            await eventually(lambda: _claimed(world, 9))
            await until(lambda: len(server.envelopes) == 3)
    assert (server.connections, len(server.envelopes)) == (3, 3)


@pytest.mark.parametrize(("policy", "mails"), [("resend", 2), ("hold", 1)])
async def test_the_mail_of_a_killed_mailer_follows_the_policy_when_its_lease_ends(
    world: World, policy: str, mails: int
) -> None:
    said = await world.assigned("ord-1")
    async with serving(MoodyServer(data=["hang"])) as server:
        settings = world.settings.model_copy(
            update={"smtp_url": SecretStr(server.url), "mail_lease_seconds": 2.0, "mail_unknown": policy}
        )
        mailer = await _start_mailer_process(settings)
        try:
            await eventually(lambda: _some(server))
        finally:
            mailer.kill()
            await mailer.wait()
        assert (await world.until(said, "sending"))["attempts"] == 0
        async with mailing(settings):
            ended = await world.until(said, "sent" if policy == "resend" else "held")
    assert ended["attempts"] == mails
    assert len(server.envelopes) == mails
    ids = {
        line for one in server.envelopes for line in _text(one.content).splitlines() if line.startswith("Message-ID")
    }
    assert len(ids) == 1


async def _counted(world: World, count: int) -> bool:
    counted = await world.database.fetchval(
        "SELECT sum(applied + no_effect + dead_letters) FROM partitions WHERE topic = $1", world.topic
    )
    return bool(counted == count)


async def _claimed(world: World, count: int) -> bool:
    return bool(await world.database.fetchval("SELECT count(*) = $1 FROM deliveries WHERE state = 'sending'", count))


async def _some(server: MoodyServer) -> bool:
    return bool(server.envelopes)


def _text(content: bytes | str | None) -> str:
    return content.decode() if isinstance(content, bytes) else content or ""


async def _start_mailer_process(settings: Settings) -> asyncio.subprocess.Process:
    assert settings.database_url
    assert settings.smtp_url
    named = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.need_kafka(),
        "DATABASE_URL": settings.need_database(),
        "SMTP_URL": settings.need_smtp(),
        "TOPIC_PREFIX": settings.topic_prefix,
        "MAIL_FROM": settings.mail_from,
        "MAIL_LEASE_SECONDS": str(settings.mail_lease_seconds),
        "MAIL_UNKNOWN": settings.mail_unknown,
        "SESSION_TIMEOUT_MS": str(settings.session_timeout_ms),
    }
    code = (
        "import asyncio; from consumers.mailer import run_mailer; from schemas.settings import read_settings;"
        "asyncio.run(run_mailer(read_settings(), asyncio.Event()))"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WALLETQ_")}
    environ |= {f"WALLETQ_{name}": value for name, value in named.items()}
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=environ)
