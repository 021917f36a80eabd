"""Letters on their way through real servers: signatures hold, odd orders have a clear outcome."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from aiosmtpd.smtp import Envelope
from pydantic import SecretStr

from consumers.mailer.connections import Connections
from consumers.mailer.dkim import read_signer
from consumers.mailer.letters import compose, compose_queued
from consumers.mailer.mail_server import read_mail_server
from consumers.mailer.proofreading import read_templates
from consumers.mailer.verdicts import Kind
from schemas.settings import Settings
from tests.integration.mailer_world import MoodyServer, World, mailing, open_world, serving
from tests.servers.inbox import Inbox
from tests.unit.letters import LETTER, QUEUED, SENDER, body, parse
from tests.unit.signatures import ED25519, KEYS, RSA, pem, settings_with, verifies


@pytest.fixture
async def world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    async with open_world(settings, database) as world:
        yield world


@pytest.mark.parametrize("key", [RSA, ED25519])
async def test_a_signature_holds_where_the_mail_arrives(key: str, tmp_path: Path) -> None:
    # SMTP doubles the dot at the beginning of a line, and takes it away again.
    for kind, address in (("assigned", "{{ address }}\n{{ expires_at }}\n"), ("queued", "{{ place }}\n")):
        (tmp_path / "en").mkdir(exist_ok=True)
        text = "{{ order_id }}\n..\n.\n.a\n" + address + "{{ amount }} {{ currency }} {{ network }}\n"
        (tmp_path / "en" / f"{kind}.txt").write_text(text)
    templates = read_templates(tmp_path)
    signer = read_signer(settings_with(KEYS[key]), SENDER.domain)
    assert signer is not None
    async with serving(MoodyServer()) as server:
        connections = Connections(read_mail_server(server.url), ssl.create_default_context())
        for order_id in (".", "..", ".от\u2026", "ord-7f3c"):
            for recipient in ("ann@example.com", "añn@example.com"):
                for message in (
                    compose(replace(LETTER, order_id=order_id, recipient=recipient), templates),
                    compose_queued(replace(QUEUED, order_id=order_id, recipient=recipient), templates),
                ):
                    signed = signer.sign(message, datetime(2026, 1, 1, tzinfo=UTC))
                    assert (await connections.send(signed, 10)).kind is Kind.SENT
                    arrived = _content(server.envelopes[-1])
                    assert verifies(arrived)
                    assert arrived == signed.content
                    assert body(parse(arrived), "plain").split("\n")[:4] == [order_id, "..", ".", ".a"]
        await connections.close()


async def test_a_mailer_signs_where_a_key_is_set(world: World) -> None:
    said = await world.assigned("ord-1")
    async with serving(MoodyServer()) as server:
        signing = {"mail_dkim_selector": "mail", "mail_dkim_key": SecretStr(pem(KEYS[RSA]))}
        settings = world.settings.model_copy(update={"smtp_url": SecretStr(server.url), **signing})
        async with mailing(settings):
            await world.until(said, "sent")
    assert verifies(_content(server.envelopes[0]))


@pytest.mark.parametrize("address", ["", "T XYZ", "TXYZ\nTABC"])
async def test_an_order_with_an_odd_address_gets_no_mail_and_holds_up_no_other(
    world: World, inbox: Inbox, address: str
) -> None:
    odd = await world.assigned("ord-1")
    await world.database.execute("UPDATE assignments SET address = $1", address)
    good = await world.assigned("ord-2")
    async with mailing(world.settings):
        await world.until(good, "sent")
        failed = await world.until(odd, "failed")
    assert failed["outcome"] == "the mail cannot be written: address: expected 1 to 128 letters and digits"
    assert [mail["To"] for mail in await inbox.mails()] == ["ord-2@example.com"]


@pytest.mark.parametrize("locale", ["", "xx", "../en"])
async def test_an_order_with_an_odd_locale_gets_an_english_mail(world: World, inbox: Inbox, locale: str) -> None:
    said = await world.assigned("ord-1", locale=locale)
    async with mailing(world.settings):
        await world.until(said, "sent")
    [mail] = await inbox.wait_for(1)
    assert mail["Content-Language"] == "en"


def _content(envelope: Envelope) -> bytes:
    assert isinstance(envelope.content, bytes)
    return envelope.content
