"""Servers that go away while a mailer works, and come back."""

import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
import structlog
from pydantic import SecretStr

from consumers.mailer.terms import Terms
from consumers.mailer.topic import read_topic
from schemas.settings import Settings
from storage.database import connect
from storage.errors import ServerUnreachable
from tests.integration.mailer_world import TRON, MoodyServer, World, eventually, mailing, open_world, serving
from tests.servers.servers import Name, Servers


@pytest.fixture
async def world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    async with open_world(settings, database) as world:
        yield world


@pytest.mark.parametrize(
    ("server", "away", "back"),
    [("postgres", "kill", "start"), ("kafka", "kill", "start")],  # frozen ones are in tests/faults
)
async def test_a_mailer_waits_for_a_server_and_goes_on(
    world: World, servers: Servers, server: Name, away: str, back: str
) -> None:
    first = await world.assigned("ord-1")
    later = await world.order("ord-2", address=f"{TRON[:-1]}g")
    async with mailing(world.settings) as mailer:
        await world.until(first, "sent")
        await getattr(servers, away)(server)
        await noticed(world, server)
        assert not mailer.done()
        await getattr(servers, back)(server)
        if away == "kill" and server == "postgres":
            world.database = await connect(world.settings.need_database())
        await world.publish(later)
        sent = await world.until(later, "sent", 40)
        assert sent["attempts"] == 1
    if away == "kill" and server == "postgres":
        await world.database.close()


@pytest.mark.parametrize("server", ["postgres", "kafka"])
async def test_a_mailer_stops_though_a_server_is_away(world: World, servers: Servers, server: Name) -> None:
    said = await world.assigned("ord-1")
    async with mailing(world.settings):  # which allows 15 seconds for it
        await world.until(said, "sent")
        await servers.kill(server)
        await noticed(world, server)


async def noticed(world: World, server: Name) -> None:
    """Wait until the mailer has found the database away, or any client Kafka."""
    if server == "kafka":
        with pytest.raises(ServerUnreachable):
            await read_topic(world.settings, world.topic)
        return
    with structlog.testing.capture_logs() as logs:

        async def seen() -> bool:
            return any(entry["event"] == "server_away" for entry in logs)

        await eventually(seen)


async def test_a_mailer_that_is_told_to_stop_does_not_wait_for_a_mail_server_for_long(world: World) -> None:
    said = await world.assigned("ord-1")
    async with serving(MoodyServer(mail=["hang"])) as server:
        settings = world.settings.model_copy(update={"smtp_url": SecretStr(server.url)})
        async with mailing(settings, terms=Terms(2, 60, "resend", stop_seconds=0.5)):
            await eventually(lambda: _asked(server))
            begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert (await world.until(said, "sending"))["attempts"] == 0


async def _asked(server: MoodyServer) -> bool:
    return "MAIL" in server.asked
