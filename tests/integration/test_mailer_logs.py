"""What a mailer logs: every outcome, and nobody's name."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from pydantic import SecretStr

from schemas.settings import Settings
from tests.integration.mailer_world import TRON, MoodyServer, World, open_world, serving
from tests.servers.processes import process
from tests.servers.wait import until

PEOPLE = [f"ann{n}@private{n}.example" for n in range(9)]
EVENTS = (
    "mail_server_refuses_us",
    "mail_server_takes_mails_again",
    *(f"mail_{state}" for state in ("sent", "failed", "due", "held", "superseded", "expired")),
)


@pytest.fixture
async def world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    async with open_world(settings, database) as world:
        yield world


async def test_no_line_names_a_person_whatever_becomes_of_the_mails(world: World) -> None:
    everybody = " ".join(f"<{one}>" for one in PEOPLE)  # the server repeats whom it was told of
    moods = MoodyServer(
        mail=[f"550 5.7.1 We do not like {everybody}"],
        rcpt=[f"451 4.7.1 {everybody}", f"550 5.1.1 {everybody}"],
        data=[f"452 4.2.2 {everybody}", f"554 5.7.1 {everybody}", "drop"],
    )
    said = [
        await world.order(
            f"ord-{n}",
            email=email,
            address=f"{TRON[:-3]}{n:03}",
            expires_in=timedelta(minutes=90) if n != 1 else timedelta(seconds=-1),
        )
        for n, email in enumerate(PEOPLE)
    ]
    await world.release(said[0])
    await world.database.execute("UPDATE orders SET email = email || E'\\nx' WHERE order_id = 'ord-2'")
    await world.publish(*said)
    async with serving(moods) as server:
        settings = world.settings.model_copy(
            update={"smtp_url": SecretStr(server.url), "mail_connections": 1, "mail_unknown": "hold"}
        )
        async with process("mail", settings, env={"WALLETQ_LOG_LEVEL": "debug"}) as mailer:
            await until(lambda: _ended(world, len(PEOPLE)))
            mailer.terminate()
            assert await mailer.wait() == 0
            log = mailer.log
    for event in EVENTS:
        assert f'"event": "{event}"' in log
    for person in PEOPLE:
        for word in person.split("@"):
            assert word not in log
    outcomes = await world.database.fetch("SELECT outcome FROM deliveries")
    assert not any("private" in row["outcome"] or "@" in row["outcome"] for row in outcomes)


async def _ended(world: World, count: int) -> bool:
    ended = "SELECT count(*) = $1 FROM deliveries WHERE next_attempt_at IS NULL"
    return bool(await world.database.fetchval(ended, count))
