"""R13–R15 as a user has them: through the commands, on running processes."""

import json
import re
from collections.abc import AsyncIterator

import pytest

from schemas.settings import Settings
from tests.servers.inbox import Inbox
from tests.servers.processes import process, walletq
from tests.servers.wait import until

ADDRESS = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
SECOND_ADDRESS = "TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf"


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Settings]:
    """An allocator and a mailer."""
    async with process("allocate", settings), process("mail", settings):
        yield settings


def pending(order_id: str, locale: str = "en") -> str:
    return json.dumps(
        {
            "type": "order_status_changed",
            "event_id": f"event-{order_id}",
            "order_id": order_id,
            "currency": "USDT",
            "network": "TRC-20",
            "status": "pending",
            "amount": "250.00",
            "recipient": {"email": f"{order_id}@example.com", "locale": locale},
            "occurred_at": "2026-11-22T16:00:00Z",
        }
    )


async def do(settings: Settings, *args: str, text: str | None = None) -> str:
    """A command that must succeed; what it printed."""
    done = await walletq(*args, settings=settings, input=text)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def usdt_pool(settings: Settings) -> dict[str, object]:
    status = json.loads(await do(settings, "status", "--json"))
    return next(pool for pool in status["pools"] if (pool["currency"], pool["network"]) == ("USDT", "TRC-20"))


async def test_an_order_waits_where_no_wallet_is_free_and_gets_the_one_that_a_release_frees(
    running: Settings, inbox: Inbox
) -> None:
    await do(running, "wallets", "add", "--currency", "USDT", "--network", "TRC-20", ADDRESS)
    await do(running, "publish", "-", text="\n".join(pending(name) for name in ("first", "second", "third")))
    [mail] = await inbox.wait_for(1)
    assert mail["To"] == "first@example.com"

    # R13: the others are queued
    async def two_wait() -> bool:
        return (await usdt_pool(running))["waiting"] == 2

    await until(two_wait, what="two orders to wait")

    # R14: a release through the operator's surface moves the queue by itself
    await do(running, "order", "set-status", "first", "cancelled", "--reason", "client_request")

    # R15: the mail goes out, to the oldest one, with the address of the wallet that was released
    mails = await inbox.wait_for(2)
    assert mails[1]["To"] == "second@example.com"
    body = mails[1].get_body(("plain",))
    assert body is not None
    assert re.search(rf"^\s*{ADDRESS}\s*$", body.get_content(), re.MULTILINE)
    assert (await usdt_pool(running))["waiting"] == 1
    await do(running, "verify")


async def test_a_wallet_that_is_added_serves_the_oldest_waiting_order(running: Settings, inbox: Inbox) -> None:
    await do(running, "publish", "-", text="\n".join(pending(name, "ru") for name in ("a", "b")))
    await do(running, "wallets", "add", "--currency", "USDT", "--network", "TRC-20", ADDRESS, SECOND_ADDRESS)
    mails = await inbox.wait_for(2)
    assert {mail["To"] for mail in mails} == {"a@example.com", "b@example.com"}
    await do(running, "verify")
