"""4,000 hostile and good events through the whole pipeline: exactly what the rules give, whoever dies meanwhile."""

from contextlib import AsyncExitStack

import asyncpg
import pytest

from schemas.settings import Settings
from schemas.topics import names
from tests.acceptance.pipeline import assert_mailed, assert_notified_once_each, expected, facts, publish
from tests.reference import Model
from tests.servers.inbox import Inbox
from tests.servers.processes import process, walletq
from tests.servers.wait import until
from tests.traffic import hostile

EVENTS = 4_000
ROWS = "SELECT partition, assigned_offset, currency, network, address, order_id FROM assignments"


async def processed(settings: Settings, database: asyncpg.Connection) -> int:
    """How many records of the log are applied, had no effect, or are dead letters."""
    total: int = await database.fetchval(
        "SELECT coalesce(sum(applied + no_effect + dead_letters), 0) FROM partitions WHERE topic = $1",
        names(settings).orders,
    )
    return total


async def assert_exactly_what_the_rules_give(settings: Settings, database: asyncpg.Connection, inbox: Inbox) -> Model:
    model = await expected(settings)
    assert {tuple(row) for row in await database.fetch(ROWS)} == facts(model.assignments)
    dead = await database.fetch('SELECT partition, "offset", reason FROM dead_letters')
    assert {tuple(row) for row in dead if row["reason"] != "mail_refused"} == {
        (letter.partition, letter.offset, letter.reason) for letter in model.dead_letters
    }
    await assert_notified_once_each(settings, model)
    await assert_mailed(settings, inbox, model)
    verified = await walletq("verify", "--wait", "30", settings=settings)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    return model


@pytest.mark.timeout(600)
@pytest.mark.parametrize("members", [2])  # one of each: below
async def test_members_share_the_work_and_agree_with_the_rules(
    settings: Settings, database: asyncpg.Connection, inbox: Inbox, members: int
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(members):
            await stack.enter_async_context(process("allocate", settings))
            await stack.enter_async_context(process("mail", settings))
        await publish(settings, list(hostile(members, EVENTS)))

        async def all_applied() -> bool:
            return await processed(settings, database) == EVENTS

        await until(all_applied, 90, "all events to be applied")
        await assert_exactly_what_the_rules_give(settings, database, inbox)


@pytest.mark.timeout(600)
async def test_an_allocator_killed_and_restarted_in_the_middle_loses_and_repeats_nothing(
    settings: Settings, database: asyncpg.Connection, inbox: Inbox
) -> None:
    settings = settings.model_copy(update={"member_id": "allocator-1", "batch_records": 50})
    mailer = settings.model_copy(update={"member_id": "mailer-1"})
    async with process("mail", mailer):
        async with process("allocate", settings) as first:
            await publish(settings, list(hostile(11, EVENTS)))

            async def in_the_middle() -> bool:
                return await processed(settings, database) > EVENTS // 4

            await until(in_the_middle, 60, "a quarter of the events to be applied")
            await first.kill()
        assert await processed(settings, database) < EVENTS, "it was killed too late to show anything"
        async with process("allocate", settings):

            async def all_applied() -> bool:
                return await processed(settings, database) == EVENTS

            await until(all_applied, 90, "all events to be applied")
            await assert_exactly_what_the_rules_give(settings, database, inbox)
