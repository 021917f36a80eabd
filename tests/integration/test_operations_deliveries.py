"""`walletq deliveries`, run as an operator runs it: what it shows, what it changes, and what it leaves to a mailer."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from consumers.mailer.deliveries import SQL, Deliveries, Settled
from consumers.mailer.endings import Ending
from operations.deliveries import SQL as OPERATORS
from operations.deliveries import Wanted
from schemas.settings import Settings
from storage.database import connect, create_pool
from tests.integration.commands import CommandLine
from tests.integration.mailer_world import TRON, World, mailing, open_world
from tests.servers.inbox import Inbox
from tests.servers.wait import until

ENDED = {
    "failed": "RCPT: 550 5.1.1",
    "held": "unknown: FINAL_DOT: timeout",
    "expired": "the order expires",
    "sent": "sent",
}


@pytest.fixture
def walletq(settings: Settings, tmp_path: Path) -> CommandLine:
    return CommandLine(settings, tmp_path)


@pytest.fixture
async def world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    async with open_world(settings, database) as world:
        yield world


async def delivered(world: World, order_id: str, state: str = "due", number: int = 0, **of_the_order: Any) -> str:
    """A delivery in a state; its id."""
    said = await world.order(order_id, address=f"{TRON[:-3]}{number:03}", **of_the_order)
    await world.database.execute(
        SQL["add_deliveries"], [said.notification_id], [0], [0], [said.currency], [order_id], [None]
    )
    if state in ENDED:
        await world.database.execute(
            "UPDATE deliveries SET state = $2, outcome = $3, attempts = 1, next_attempt_at = NULL, address = $4,"
            " sent_at = CASE WHEN $2 = 'sent' THEN now() END WHERE notification_id = $1",
            said.notification_id,
            state,
            ENDED[state],
            said.address,
        )
    return str(said.notification_id)


async def states(world: World) -> dict[str, str]:
    rows = await world.database.fetch("SELECT order_id, state FROM deliveries")
    return {row["order_id"]: row["state"] for row in rows}


async def test_deliveries_are_listed_without_their_recipients(walletq: CommandLine, world: World) -> None:
    failed = await delivered(world, "ord-1", "failed", email="ann.smith@example.com")
    await delivered(world, "ord-2", "due", 2)
    await world.database.execute(
        "UPDATE deliveries SET created_at = now() - interval '2 hours' WHERE order_id = 'ord-1'"
    )
    listed = await walletq.run("deliveries", "list", "--json")
    assert (listed.code, [row["order_id"] for row in listed.json]) == (0, ["ord-2", "ord-1"])
    for options in (["-s", "failed"], ["-o", "ord-1"], ["--older-than", "1h"]):
        (row,) = (await walletq.run("deliveries", "list", *options, "--json")).json
        assert (row["notification_id"], row["outcome"], row["domain"]) == (failed, "RCPT: 550 5.1.1", "example.com")
    assert (await walletq.run("deliveries", "list", "-c", "BTC", "--json")).json == []
    assert [row["order_id"] for row in (await walletq.run("deliveries", "list", "-l", "1", "--json")).json] == ["ord-2"]
    shown = await walletq.run("deliveries", "show", failed, "--json")
    assert (shown.code, shown.json["state"], shown.json["order_status"]) == (0, "failed", "pending")
    plain = [await walletq.run("deliveries", *command) for command in (["list"], ["show", failed])]
    for ended in (listed, shown, *plain):
        assert "ann.smith" not in ended.out
        assert "example.com" in ended.out


async def test_a_delivery_that_is_not_there_is_answered_with_no(walletq: CommandLine) -> None:
    for command in ("show", "retry", "hold", "settle"):
        ended = await walletq.run("deliveries", command, str(uuid4()))
        assert ended.code == 1
        assert "no delivery" in ended.err or "is not known" in ended.err
    nothing = await walletq.run("deliveries", "retry", "--state", "failed", "--json")
    assert (nothing.code, nothing.json) == (1, {"changed": [], "refused": {}})


async def test_what_failed_is_sent_again(walletq: CommandLine, world: World) -> None:
    named = [await delivered(world, f"ord-{state}", state, n) for n, state in enumerate(ENDED)]
    ended = await walletq.run("deliveries", "retry", *named, "--json")
    assert ended.code == 1  # not all that were named
    assert ended.json == {"changed": named[:3], "refused": {named[3]: "is sent: a mail goes out once"}}
    async with mailing(world.settings):
        await until(lambda: _all_are(world, "sent"))
    attempts = await world.database.fetchval("SELECT min(attempts) FROM deliveries WHERE order_id <> 'ord-sent'")
    assert attempts == 2


async def test_the_mail_of_an_order_that_has_ended_or_expired_is_not_sent_again(
    walletq: CommandLine, world: World
) -> None:
    over = await delivered(world, "ord-over", "expired", 1, expires_in=timedelta(seconds=-1))
    gone = await delivered(world, "ord-gone", "failed", 2)
    await delivered(world, "ord-held", "held", 3)
    await delivered(world, "ord-late", "held", 4, expires_in=timedelta(seconds=-1))
    await world.database.execute(
        "UPDATE assignments SET released_offset = 1000, released_at = now() WHERE order_id IN ('ord-gone', 'ord-held')"
    )
    ended = await walletq.run("deliveries", "retry", over, gone)
    assert ended.code == 1
    assert f"{over} cannot be sent: its order has expired" in ended.err
    assert f"{gone} cannot be sent: its order has ended" in ended.err
    held = await walletq.run("deliveries", "retry", "--state", "held")
    assert held.code == 1
    assert "its order has ended, or has another wallet. It is superseded now, and no longer held" in held.err
    assert "its order has expired. It is expired now, and no longer held" in held.err
    assert await states(world) == {
        "ord-over": "expired",
        "ord-gone": "failed",
        "ord-held": "superseded",
        "ord-late": "expired",
    }


async def test_without_ids_what_went_wrong_is_retried_and_what_is_due_is_held(
    walletq: CommandLine, world: World
) -> None:
    for n, state in enumerate((*ENDED, "due")):
        await delivered(world, f"ord-{state}", state, n)
    held = await walletq.run("deliveries", "hold", "--currency", "USDT")
    assert (held.code, held.out) == (0, "1 deliveries are held now\n")
    row = await world.database.fetchrow("SELECT state, outcome FROM deliveries WHERE order_id = 'ord-due'")
    assert row["state"] == "held"
    assert row["outcome"].startswith("held back by operator")
    retried = await walletq.run("deliveries", "retry", "--currency", "USDT", "--json")
    assert (retried.code, len(retried.json["changed"])) == (0, 4)
    assert set((await states(world)).values()) == {"due", "sent"}


async def test_a_held_mail_that_the_server_has_is_settled_and_never_sent_again(
    walletq: CommandLine, world: World, inbox: Inbox
) -> None:
    settled = await delivered(world, "ord-held", "held", 1)
    await world.database.execute(
        "UPDATE deliveries SET outcome = 'unknown: the mailer died', address = NULL, updated_at = '2026-01-01 00:00Z'"
    )
    ended = await walletq.run("deliveries", "settle", settled, "--note", "queued as 4F2C1", "--json")
    assert (ended.code, ended.json) == (0, {"changed": [settled], "refused": {}})
    row = await world.database.fetchrow(
        "SELECT d.*, a.address AS assigned FROM deliveries d JOIN assignments a ON assignment_id = notification_id"
    )
    assert (row["state"], row["address"], row["attempts"]) == ("sent", row["assigned"], 1)
    assert row["sent_at"] == datetime(2026, 1, 1, tzinfo=UTC)  # it was not later than that
    assert row["outcome"].startswith("settled by operator")
    assert row["outcome"].endswith(": queued as 4F2C1; was unknown: the mailer died")
    for command in ("settle", "retry", "hold"):
        again = await walletq.run("deliveries", command, settled)
        assert again.code == 1
        assert f"{settled} is sent" in again.err
    await delivered(world, "ord-other", number=2)
    async with mailing(world.settings):
        await until(lambda: _all_are(world, "sent"))
    assert len(await inbox.mails()) == 1


async def test_what_a_settled_mail_showed_stays_and_it_is_no_older_than_its_delivery(
    walletq: CommandLine, world: World
) -> None:
    one = await delivered(world, "ord-held", "held", 1)
    await world.database.execute("UPDATE deliveries SET outcome = 'unknown: silence', address = 'noted'")
    ended = await walletq.run("deliveries", "settle", one, "--at", "2026-01-01T00:00:00Z")
    assert (ended.code, "was made later than that, at" in ended.err) == (1, True)
    assert (await walletq.run("deliveries", "settle", one)).code == 0
    row = await world.database.fetchrow("SELECT state, address FROM deliveries")
    assert (row["state"], row["address"]) == ("sent", "noted")


async def test_only_a_held_mail_that_somebody_tried_to_send_is_settled(walletq: CommandLine, world: World) -> None:
    ids = [await delivered(world, f"ord-{state}", state, n) for n, state in enumerate(("due", "failed", "expired"))]
    for one in ids:
        ended = await walletq.run("deliveries", "settle", one)
        assert ended.code == 1
        assert "only a mail that is held can be settled" in ended.err
    assert (await walletq.run("deliveries", "hold", ids[0])).code == 0
    ended = await walletq.run("deliveries", "settle", ids[0])
    assert (ended.code, "before anybody tried to send it" in ended.err) == (1, True)
    assert await states(world) == {"ord-due": "held", "ord-failed": "failed", "ord-expired": "expired"}


async def test_a_change_leaves_what_a_mailer_has_and_a_mailer_what_is_being_changed(
    walletq: CommandLine, world: World
) -> None:
    named = await delivered(world, "ord-1")
    pool = await create_pool(world.settings.need_database(), "walletq_mailer", size=2, application="walletq test")
    deliveries = Deliveries(pool, world.topic)
    operator = await connect(world.settings.need_database(), "walletq_operator")
    try:
        [(claim, _)] = await deliveries.claim(1, uuid4(), 60)
        for change in ("retry", "hold"):
            refused = await walletq.run("deliveries", change, named)
            assert refused.code == 1
            assert "is with a mailer at this moment" in refused.err
        assert await deliveries.settle([Settled(claim, Ending("due", "451", counted=True))])
        async with operator.transaction():
            assert len(await operator.fetch(OPERATORS["lock"], *Wanted(order_id="ord-1").arguments())) == 1
            async with asyncio.timeout(5):
                assert await deliveries.claim(1, uuid4(), 60) == []
        assert len(await deliveries.claim(1, uuid4(), 60)) == 1
    finally:
        operator.terminate()
        await pool.close()


@pytest.mark.usefixtures("database")
async def test_an_operator_changes_nothing_else(settings: Settings) -> None:
    operator = await connect(settings.need_database(), "walletq_operator")
    refused = [f"{verb} deliveries" for verb in ("DELETE FROM", "TRUNCATE")]
    refused += [f"UPDATE deliveries SET {column} = {column}" for column in ("attempts", "lease_holder", "order_id")]
    refused += [
        "UPDATE orders SET email = ''",
        "UPDATE wallets SET status = ''",
        "INSERT INTO deliveries DEFAULT VALUES",
    ]
    try:
        for statement in refused:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await operator.execute(statement)
    finally:
        operator.terminate()


async def _all_are(world: World, state: str) -> bool:
    return set((await states(world)).values()) == {state}
