"""The mail that an order waits: who gets it, when, with which place, and that it costs little."""

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from consumers.mailer import queue_watch, ranks
from consumers.mailer.deliveries import SQL, Deliveries
from consumers.mailer.endings import Backoff
from consumers.mailer.queue_watch import queued_uuid
from consumers.mailer.ranks import Ranks
from consumers.mailer.terms import Terms
from schemas.catalogue import read_catalogue
from schemas.settings import Settings
from schemas.topics import names
from storage.database import create_pool
from tests.integration.mailer_world import TRON, MoodyServer, World, mailing, open_world, serving
from tests.servers.inbox import Inbox
from tests.servers.mail_server import STALL, Mood, mail_server
from tests.servers.wait import until


@pytest.fixture
async def world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    telling = settings.model_copy(update={"mail_queued": True, "mail_queued_after_seconds": 60.0})
    async with open_world(telling, database) as world:
        yield world


@pytest.fixture
async def deliveries(world: World) -> AsyncIterator[Deliveries]:
    pool = await create_pool(world.settings.need_database(), "walletq_mailer", size=2, application="walletq test")
    yield Deliveries(pool, world.topic)
    await pool.close()


async def states(world: World) -> dict[str, str]:
    rows = await world.database.fetch("SELECT order_id, state FROM deliveries WHERE kind = 'queued'")
    return {row["order_id"]: row["state"] for row in rows}


async def test_whoever_waits_for_a_while_is_told_once_which_place_the_order_has(world: World, inbox: Inbox) -> None:
    for n in range(3):
        await world.waiting(f"ord-{n}")
        await world.waiting(f"other-{n}", network="ERC-20")
    await world.waiting("ord-young", waited=timedelta())
    await world.waiting("ord-behind-the-young")  # whose clock was wrong: the log has the order
    async with mailing(world.settings), mailing(world.settings):
        mails = {parseaddr(mail["To"])[1]: mail for mail in await inbox.wait_for(6)}
    async with mailing(world.settings):  # nobody is told again
        said = await world.assigned("ord-last", address=f"{TRON[:-1]}g")
        await world.until(said, "sent")
    assert len(await inbox.mails()) == 7
    assert {who.partition("@")[0]: place_in(mail) for who, mail in mails.items()} == {
        **{f"ord-{n}": n + 1 for n in range(3)},
        **{f"other-{n}": n + 1 for n in range(3)},
    }
    found = await world.queued("ord-0")
    assert found is not None
    assert (found["state"], found["attempts"], found["address"]) == ("sent", 1, None)
    assert found["notification_id"] == queued_uuid(names(world.settings).orders, found["partition"], found["offset"])
    assert mails["ord-0@example.com"]["Message-ID"] == f"<{found['notification_id']}@walletq.example>"


async def test_nobody_is_told_where_it_is_not_asked_for(world: World) -> None:
    await world.waiting("ord-1")
    async with mailing(world.settings.model_copy(update={"mail_queued": False})):
        await world.until(await world.assigned("ord-2"), "sent")
    assert await states(world) == {}


async def test_an_order_that_waits_no_more_gets_no_such_mail(world: World) -> None:
    await world.waiting("ord-1")
    await world.waiting("ord-2", expires_in=timedelta(seconds=-1))
    async with serving(MoodyServer(rcpt=["451 Later"] * 1_000)) as server:
        settings = world.settings.model_copy(update={"smtp_url": SecretStr(server.url)})
        terms = Terms(1, 60, "resend", Backoff(base=0.2, ceiling=0.2))
        async with mailing(settings, terms=terms):
            await until(lambda: "RCPT" in server.asked)
            said = await world.served("ord-1")
            await until(lambda: _are(world, {"ord-1": "superseded", "ord-2": "expired"}))
            server.rcpt.clear()
            await world.publish(said)
            await world.until(said, "sent")
    assert len(server.envelopes) == 1


async def test_a_refused_mail_of_this_kind_fails_without_a_dead_letter(world: World) -> None:
    await world.waiting("ord-1")
    server = MoodyServer(rcpt=["550 No"])
    async with serving(server), mailing(world.settings.model_copy(update={"smtp_url": SecretStr(server.url)})):
        await until(lambda: _are(world, {"ord-1": "failed"}))
    assert not await world.database.fetchval("SELECT count(*) FROM dead_letters")


async def test_a_queue_that_empties_leaves_few_useless_deliveries(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_watch, "MOST_IN_HAND", 5)
    monkeypatch.setattr(queue_watch, "LOOK_SECONDS", 0.1)
    for n in range(12):
        await world.waiting(f"ord-{n:02}")
    async with mail_server() as server:
        server.behave(Mood("RCPT", STALL))
        settings = world.settings.model_copy(update={"smtp_url": SecretStr(f"smtp://127.0.0.1:{server.port}")})
        async with mailing(settings):
            await until(lambda: server.met == 5)
            assert list(await states(world)) == [f"ord-{n:02}" for n in range(5)]
            server.behave(None)
            await until(lambda: _are(world, {f"ord-{n:02}": "sent" for n in range(12)}))
    assert len(server.accepted) == 12


async def test_mails_with_an_address_go_first(world: World, deliveries: Deliveries) -> None:
    await world.waiting("ord-1")
    (order,) = await deliveries.waiting([("USDT", "TRC-20")], 10, 10)
    await world.database.execute(
        SQL["add_queued"], [uuid4()], [0], [order.queue_place], ["USDT"], [order.order_id], [None]
    )
    said = await world.order("ord-2")
    await world.database.execute(SQL["add_deliveries"], [said.notification_id], [0], [0], ["USDT"], ["ord-2"], [None])
    assert [dossier.order_id for _, dossier in await deliveries.claim(1, uuid4(), 60)] == ["ord-2"]
    assert [dossier.order_id for _, dossier in await deliveries.claim(2, uuid4(), 60)] == ["ord-1"]


@pytest.mark.parametrize("long", [1, 10_000])
async def test_a_place_is_counted_from_one_that_was_counted_lately(
    world: World, monkeypatch: pytest.MonkeyPatch, long: int
) -> None:
    monkeypatch.setattr(ranks, "LONG", long)
    places = [await world.waiting(f"ord-{n}", network=("TRC-20", "ERC-20")[n % 2]) for n in range(20)]
    counting = Ranks()

    async def ahead(*which: int, at: float) -> list[int]:
        asked = {uuid4(): ("USDT", ("TRC-20", "ERC-20")[n % 2], places[n]) for n in which}
        found = await counting.ahead(world.database, asked, at)
        return [found[one] for one in asked]

    assert await ahead(10, 3, 4, 11, at=0) == [5, 1, 2, 5]
    assert await ahead(2, 18, at=1) == [1, 9]
    await world.served("ord-0")
    assert await ahead(19, 18, at=9) == [9, 8 if long > 1 else 9]
    assert await ahead(18, 0, at=12) == [8, 0]


async def test_a_look_at_long_queues_reads_no_more_than_a_page(world: World) -> None:
    await world.database.execute(
        "INSERT INTO orders (currency, order_id, status, network, amount, email, locale, expires_at, queue_place,"
        " pending_offset, pending_at) SELECT 'USDT', n::text, 'pending', 'TRC-20', '1', 'ann@example.com', 'en',"
        " now(), n, n, now() FROM generate_series(1, 30000) n"
    )
    await world.database.execute("ANALYZE orders")
    for query, arguments in (
        (SQL["waiting"], (*map(list, zip(*read_catalogue().pools(), strict=True)), 0, 100)),
        (SQL["waiting_between"], (["USDT"], ["TRC-20"], [20_000], [20_100])),
    ):
        assert await rows_read(world.database, query, *arguments) < 1_000


async def rows_read(database: asyncpg.Connection, query: str, *arguments: Any) -> int:
    """So many rows of orders a query reads."""
    plan = await database.fetch("EXPLAIN (ANALYZE, FORMAT JSON) " + query, *arguments)
    return _rows(json.loads(plan[0][0])[0]["Plan"])


def _rows(node: dict[str, Any]) -> int:
    own = node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
    mine = own if node.get("Relation Name") == "orders" else 0
    return int(mine + sum(_rows(one) for one in node.get("Plans", ())))


async def _are(world: World, wanted: dict[str, str]) -> bool:
    return await states(world) == wanted


def place_in(mail: EmailMessage) -> int:
    """The place in the queue that it tells."""
    text = mail.get_body(("plain",))
    assert text is not None
    told = re.search(r"Your place in the queue:\s+(\d+)", text.get_content())
    assert told is not None
    return int(told[1])
