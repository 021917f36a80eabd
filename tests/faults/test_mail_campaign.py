"""A mail server that puts off, refuses and drops, and mailers killed while they send: what becomes of every mail."""

import email
import email.policy
import random
from collections.abc import Callable
from typing import Literal

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from consumers.mailer.terms import Terms
from operations.verify import check
from schemas.catalogue import read_catalogue
from schemas.settings import Settings
from schemas.topics import names
from storage.kafka import client_options
from tests.faults.killed_mailers import killed_mailers
from tests.faults.mail_tally import DELIVERIES, Tally, tally
from tests.faults.report import COUNTED
from tests.servers.ledger import Odds, ledger
from tests.servers.processes import process
from tests.servers.wait import until
from tests.traffic import holding

RecordProperty = Callable[[str, object], None]

SEED = 6
LEASE_SECONDS = 10.0
"What a killed mailer had in hand waits so long; a machine too busy to keep within it sends mails twice."
PATIENCE_SECONDS = 150
ENDED = "SELECT count(*) FILTER (WHERE state NOT IN ('due', 'sending')) FROM deliveries"
DEAD_LETTERS = "SELECT count(*) FROM dead_letters WHERE topic = $1 AND reason = 'mail_refused'"


@pytest.mark.timeout(600)
async def test_every_mail_is_accepted_or_ends_with_a_reason_and_twice_only_where_nobody_could_know(
    settings: Settings, database: asyncpg.Connection, record_property: RecordProperty
) -> None:
    count = await campaign(settings, database, mails=10_000, kills=10, unknown="resend")
    record_property(COUNTED, count.as_text())
    assert set(count.states) == {"sent", "failed"}
    assert set(count.twice) == {"dropped after the dot", "mailer killed"}
    assert count.twice["mailer killed"] <= 10 * Terms.of(settings, read_catalogue()).in_flight


@pytest.mark.timeout(600)
async def test_where_an_unknown_outcome_is_held_no_mail_is_accepted_twice(
    settings: Settings, database: asyncpg.Connection, record_property: RecordProperty
) -> None:
    count = await campaign(settings, database, mails=1_000, kills=3, unknown="hold")
    record_property(COUNTED, count.as_text())
    assert set(count.states) == {"sent", "failed", "held"}
    assert not count.twice


async def campaign(
    settings: Settings, database: asyncpg.Connection, *, mails: int, kills: int, unknown: Literal["resend", "hold"]
) -> Tally:
    """So many mails and kills, and the count; whatever is not as it must be has failed the test by then."""
    settings = settings.model_copy(update={"mail_unknown": unknown, "mail_lease_seconds": LEASE_SECONDS})
    rng = random.Random(SEED)
    sample = {f"mail-{number}@example.com" for number in rng.sample(range(mails), 200)}
    async with ledger(Odds(SEED), keeps=sample.__contains__) as server:
        await _publish(settings, mails)
        async with process("allocate", settings), killed_mailers(settings, server, SEED) as mailers:
            for moment in sorted(rng.sample(range(mails // 20, mails), kills)):
                await mailers.kill_one(moment)

            async def ended() -> bool:
                return bool(await database.fetchval(ENDED) == mails)

            await until(ended, PATIENCE_SECONDS, "every delivery to end")
        rows = await database.fetch(DELIVERIES)
        count = tally(rows, server.by_recipient(), mailers.killed_at)
    assert not count.findings, "\n".join(count.findings[:5])
    assert not [one.as_text() for one in await check(settings, drained=True) if one.result == "violated"]
    assert count.mails == mails
    assert len(mailers.killed_at) == kills
    assert count.answers["transient"] > 0.25 * count.attempts
    assert min(count.answers["permanent"], count.answers["dropped"]) > 0.005 * count.attempts
    assert await database.fetchval(DEAD_LETTERS, names(settings).notifications) == count.states["failed"]
    for row in rows:
        if (content := server.kept.get(row["email"])) is not None:
            _assert_tells(content, row)
    assert len(server.kept) > 150
    return count


async def _publish(settings: Settings, mails: int) -> None:
    async with AIOKafkaProducer(**client_options(settings)) as producer:
        for message in holding(SEED, mails):
            await producer.send(
                names(settings).orders, partition=message.partition, key=message.key, value=message.value
            )
        await producer.flush()


def _assert_tells(content: bytes, row: asyncpg.Record) -> None:
    mail = email.message_from_bytes(content, policy=email.policy.default)
    text = mail.get_body(("plain",))
    assert text is not None
    assert row["address"] in text.get_content().splitlines()
    assert mail["To"] == row["email"]
    assert mail["Message-ID"] == f"<{row['notification_id']}@walletq.example>"
