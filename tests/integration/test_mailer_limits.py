"""How fast mails go out, and that a domain at its limit holds up nobody else."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from pydantic import SecretStr

from schemas.settings import Settings
from tests.integration.mailer_world import TRON, World, mailing, open_world
from tests.servers.mail_server import MailServer, mail_server
from tests.servers.wait import until


@pytest.fixture
async def world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    async with open_world(settings, database) as world:
        yield world


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


def limited(world: World, server: MailServer, **limits: float) -> Settings:
    return world.settings.model_copy(update={"smtp_url": SecretStr(f"smtp://127.0.0.1:{server.port}"), **limits})


async def test_a_domain_at_its_limit_holds_up_no_other_and_no_lease(world: World, server: MailServer) -> None:
    """The first to come are 100 mails to one domain, however it is written; the last is to another."""
    written = ("big.example", "Big.Example", "BIG.example")
    for n in range(100):
        await world.assigned(f"ord-{n:02}", email=f"n{n}@{written[n % 3]}", address=f"{TRON[:-3]}{n:03}")
    other = await world.assigned("ord-other", email="ann@small.example", address=f"{TRON[:-1]}g")
    settings = limited(world, server, mail_per_domain_per_second=10.0, mail_connections=2)
    async with mailing(settings):
        await world.until(other, "sent")
        assert sum(mail.recipient.lower().endswith("big.example") for mail in server.accepted) < 50
        await until(lambda: len(server.accepted) == 101, 30)
        await until(lambda: _states(world), what="all to be settled")
    assert_rate([mail.at for mail in server.accepted if mail.recipient != "ann@small.example"], 10)
    attempts = await world.database.fetch("SELECT DISTINCT attempts FROM deliveries")
    assert [row["attempts"] for row in attempts] == [1]


async def test_all_mails_together_keep_the_overall_limit(world: World, server: MailServer) -> None:
    for n in range(40):
        await world.assigned(f"ord-{n:02}", email=f"ann@{n}.example", address=f"{TRON[:-3]}{n:03}")
    async with mailing(limited(world, server, mail_per_second=10.0)):
        await until(lambda: len(server.accepted) == 40, 30)
        await until(lambda: _states(world), what="all to be settled")
    assert_rate([mail.at for mail in server.accepted], 10)


async def test_a_mailer_that_waits_for_its_turn_stops_at_once_and_gives_back_what_it_has(
    world: World, server: MailServer
) -> None:
    for n in range(5):
        await world.assigned(f"ord-{n:02}", address=f"{TRON[:-3]}{n:03}")
    async with mailing(limited(world, server, mail_per_second=0.1, mail_lease_seconds=600.0)):
        await until(lambda: len(server.accepted) == 1)
    states = await world.database.fetch("SELECT state, attempts FROM deliveries ORDER BY state")
    assert [tuple(row) for row in states] == [("due", 0)] * 4 + [("sent", 1)]


def assert_rate(times: list[float], rate: float) -> None:
    """At most what the bucket holds, and what has come since; some are accepted a little late."""
    times = sorted(times)
    for first, since in enumerate(times):
        for more, at in enumerate(times[first:]):
            assert more + 1 <= 1 + rate * (at - since + 1.5)


async def _states(world: World) -> bool:
    return not await world.database.fetchval("SELECT count(*) FROM deliveries WHERE state <> 'sent'")
