"""Claims of deliveries: one mailer at a time, for as long as its lease, and not a moment longer."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

import asyncpg
import pytest

from consumers.mailer.connections import Connections
from consumers.mailer.deliveries import SQL, Claim, Deliveries, Settled
from consumers.mailer.dispatch import Dispatcher
from consumers.mailer.endings import Dossier, Ending
from consumers.mailer.gate import Gate
from consumers.mailer.letters import Message
from consumers.mailer.mail_server import read_mail_server
from consumers.mailer.terms import Terms
from consumers.mailer.tls import trusting
from schemas.events import WalletAssigned
from schemas.settings import Settings
from storage.database import connect, create_pool
from tests.integration.mailer_world import World, open_world

LEASE_SECONDS = 60
SOON_SECONDS = 5.0


@pytest.fixture
async def world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    async with open_world(settings, database) as world:
        yield world


@asynccontextmanager
async def create_pool_of(world: World) -> AsyncIterator[asyncpg.Pool]:
    pool = await create_pool(world.settings.need_database(), "walletq_mailer", size=2, application="walletq test")
    yield pool
    await pool.close()


@pytest.fixture
async def deliveries(world: World) -> AsyncIterator[Deliveries]:
    async with create_pool_of(world) as pool:
        yield Deliveries(pool, world.topic)


@pytest.fixture
async def said(world: World) -> WalletAssigned:
    """A notification whose delivery is due."""
    said = await world.order("ord-1")
    await world.database.execute(
        SQL["add_deliveries"], [said.notification_id], [0], [0], [said.currency], [said.order_id], [None]
    )
    return said


async def test_what_another_mailer_is_claiming_is_passed_over(
    world: World, deliveries: Deliveries, said: object
) -> None:
    assert said
    other = await connect(world.settings.need_database(), "walletq_mailer", application="walletq test")
    try:
        async with other.transaction():
            assert len(await other.fetch(SQL["claim"], 10, uuid4(), LEASE_SECONDS)) == 1
            async with asyncio.timeout(SOON_SECONDS):
                assert await deliveries.claim(10, uuid4(), LEASE_SECONDS) == []
        assert await deliveries.claim(10, uuid4(), LEASE_SECONDS) == []
    finally:
        other.terminate()


@pytest.mark.parametrize(("policy", "state"), [("resend", "due"), ("hold", "held")])
async def test_an_unknown_outcome_is_not_forgotten_by_a_mailer_that_comes_to_it_too_late(
    world: World, said: WalletAssigned, policy: Literal["resend", "hold"], state: str
) -> None:
    stop = asyncio.Event()

    class Stopped(Deliveries):
        async def claim(self, *of: Any) -> list[tuple[Claim, Dossier]]:
            claims = await super().claim(*of)
            stop.set()
            return claims

    async with create_pool_of(world) as pool:
        await Deliveries(pool, world.topic).claim(10, uuid4(), 0)  # its mailer has died
        dispatcher = Dispatcher(
            Stopped(pool, world.topic),
            Connections(read_mail_server("smtp://127.0.0.1:1"), trusting(None)),
            Gate(time.monotonic),
            unwritten,
            Terms(2, 0, policy),
            on_dead_letter=lambda: None,
        )
        await dispatcher.run(stop)
    row = await world.delivery(said)
    assert row is not None
    assert row["state"] == state


async def test_a_claim_that_fails_is_no_turn_and_its_error_is_kept_until_one_succeeds(world: World) -> None:
    stop = asyncio.Event()
    seen: list[tuple[int, str | None]] = []

    class Locked(Deliveries):
        async def claim(self, *of: Any) -> list[tuple[Claim, Dossier]]:
            seen.append((dispatcher.turns, dispatcher.error))
            if len(seen) < 3:
                raise TimeoutError
            stop.set()
            return await super().claim(*of)

    async with create_pool_of(world) as pool:
        dispatcher = Dispatcher(
            Locked(pool, world.topic),
            Connections(read_mail_server("smtp://127.0.0.1:1"), trusting(None)),
            Gate(time.monotonic),
            unwritten,
            Terms(2, LEASE_SECONDS, "resend"),
            on_dead_letter=lambda: None,
        )
        await dispatcher.run(stop)
    assert seen == [(0, None), *[(0, "claiming deliveries: TimeoutError")] * 2]
    assert (dispatcher.turns, dispatcher.error) == (1, None)


def unwritten(_dossier: Dossier, _at: datetime) -> Message:
    """No mail is to be written."""
    raise AssertionError


async def test_what_met_silence_is_made_due_in_portions(world: World, deliveries: Deliveries) -> None:
    said = [await world.order(f"ord-{n}", address=f"T{n}") for n in range(6)]
    ids, orders = [one.notification_id for one in said], [one.order_id for one in said]
    offsets = list(range(6))
    await world.database.execute(SQL["add_deliveries"], ids, [0] * 6, offsets, ["USDT"] * 6, orders, [None] * 6)
    await world.database.execute(
        "UPDATE deliveries SET next_attempt_at = now() + interval '1 hour', outcome = CASE order_id"
        " WHEN 'ord-5' THEN 'transient: RCPT: 451 4.7.1' ELSE 'transient: CONNECT: timeout' END"
    )
    assert [await deliveries.hasten(2) for _ in range(4)] == [2, 2, 1, 0]
    claims = await deliveries.claim(10, uuid4(), LEASE_SECONDS)
    assert {claim.order_id for claim, _ in claims} == {one.order_id for one in said[:5]}


async def test_whoever_has_lost_the_lease_ends_nothing(
    world: World, deliveries: Deliveries, said: WalletAssigned
) -> None:
    [(late, _)] = await deliveries.claim(10, uuid4(), 0)  # its lease has run out at once
    [(claim, _)] = await deliveries.claim(10, uuid4(), LEASE_SECONDS)
    assert claim.interrupted
    assert await deliveries.look(late) is None
    assert await deliveries.settle([Settled(late, Ending("sent", "250"), "T")]) == set()
    row = await world.delivery(said)
    assert row is not None
    assert (row["state"], row["lease_holder"]) == ("sending", claim.lease_holder)
    assert await deliveries.settle([Settled(claim, Ending("sent", "250"), "T")]) == {said.notification_id}
