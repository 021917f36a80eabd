"""The mailer and a real Postfix: what arrives in a mailbox, what is refused there, and TLS as it is in the world."""

from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import trustme
from pydantic import SecretStr

from embedded.ports import HOST
from schemas.events import WalletAssigned
from schemas.settings import Settings
from tests.integration.arrivals import assert_tells
from tests.integration.mailer_world import World, open_world
from tests.servers.postfix import Postfix, postfix, why_not
from tests.servers.processes import process
from tests.servers.wait import until

ADDRESSES = [f"TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeB{last}" for last in "abcdefgh"]
NOT_LOOPBACK = "127.1"
"A way to write the loopback address that walletq does not take for one: so it asks for STARTTLS, as of any other."

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture
async def world(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[World]:
    async with open_world(settings, database) as world:
        yield world


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that only those know who are told of it."""
    return trustme.CA()


async def test_mails_arrive_in_a_mailbox_and_tell_the_right_address(world: World) -> None:
    async with postfix() as server, process("mail", sending_to(world, server)):
        said = [
            await world.assigned("ord-1", email="ann@example.com", address=ADDRESSES[0]),
            await world.assigned("ord-2", email="anya@example.com", locale="ru", address=ADDRESSES[1]),
            await world.assigned("ord-3", email="аня@example.com", locale="ru", address=ADDRESSES[2]),
            await world.assigned("ord-4", email="ann@bücher.example", address=ADDRESSES[3]),
        ]
        for one in said:
            await world.until(one, "sent")
        mails = await delivered(server, len(said))
    recipients = ["ann@example.com", "anya@example.com", "аня@example.com", "ann@xn--bcher-kva.example"]
    for one, to in zip(said, recipients, strict=True):
        mail = mails[one.notification_id]
        assert_tells(mail, one)
        assert mail["To"] == mail["Delivered-To"] == to


async def test_what_postfix_refuses_or_puts_off_has_its_reason(world: World) -> None:
    answers = (
        "{nobody@example.com = 550 5.1.1 No such user} "
        "{full@example.com = 452 4.2.2 Mailbox full} "
        "{grey@example.com = 450 4.7.1 Come back later}"
    )
    limits = {
        "smtpd_recipient_restrictions": f"check_recipient_access inline:{{ {answers} }}",
        "smtputf8_enable": "no",
    }
    async with postfix(**limits) as server, process("mail", sending_to(world, server)):
        nobody = await world.assigned("ord-1", email="nobody@example.com", address=ADDRESSES[0])
        full = await world.assigned("ord-2", email="full@example.com", address=ADDRESSES[1])
        grey = await world.assigned("ord-3", email="grey@example.com", address=ADDRESSES[2])
        cyrillic = await world.assigned("ord-4", email="аня@example.com", address=ADDRESSES[3])
        good = await world.assigned("ord-5", address=ADDRESSES[4])
        assert (await world.until(nobody, "failed"))["outcome"] == "RCPT: 550 5.1.1"
        assert (await world.until(cyrillic, "failed"))["outcome"] == "MAIL: the server does not offer SMTPUTF8"
        await world.until(good, "sent")
        assert await outcome_of(world, full) == "transient: RCPT: 452 4.2.2"
        assert await outcome_of(world, grey) == "transient: RCPT: 450 4.7.1"
        assert list(await delivered(server, 1)) == [good.notification_id]
    assert {record.key for record in await world.dead_letters(2)} == {b"ord-1", b"ord-4"}


@pytest.mark.parametrize(
    ("restrictions", "answer"),
    [
        ({"smtpd_client_restrictions": "reject"}, "554 5.7.1 Client host rejected"),
        ({"smtpd_helo_restrictions": "reject"}, "554 5.7.1 Helo command rejected"),
        ({"smtpd_sender_restrictions": "reject"}, "554 5.7.1 Sender address rejected"),
        (
            {"smtpd_relay_restrictions": "reject_unauth_destination", "virtual_mailbox_domains": ""},
            "554 5.7.1 Relay access denied",
        ),
    ],
    ids=["client", "helo", "sender", "relay"],
)
async def test_what_postfix_has_against_us_comes_with_the_recipient_and_costs_no_attempt(
    world: World, restrictions: dict[str, str], answer: str
) -> None:
    async with postfix(**restrictions) as server, process("mail", sending_to(world, server)) as mailer:
        said = [await world.assigned(f"ord-{n}", address=ADDRESSES[n]) for n in range(3)]
        await mailer.logged("mail_server_refuses_us")
        assert f"RCPT: {answer}" in mailer.log
        assert [(await world.until(one, "due"))["attempts"] for one in said] == [0, 0, 0]


async def test_a_message_that_is_too_large_for_postfix_fails(world: World) -> None:
    async with postfix(message_size_limit="1000") as server, process("mail", sending_to(world, server)):
        said = await world.assigned("ord-1")
        assert (await world.until(said, "failed"))["outcome"] == "FINAL_DOT: 552 5.3.4"


@pytest.mark.parametrize("is_self_signed", [True, False])
async def test_a_certificate_that_does_not_verify_is_refused_and_costs_no_attempt(
    world: World, authority: trustme.CA, tmp_path: Path, is_self_signed: bool
) -> None:
    own = authority.private_key_pem.bytes() + authority.cert_pem.bytes()
    (tmp_path / "self-signed.pem").write_bytes(own)
    chain = tmp_path / "self-signed.pem" if is_self_signed else certified(authority, tmp_path)
    async with (
        postfix(**with_tls(chain)) as server,
        process("mail", sending_to(world, server, NOT_LOOPBACK)) as mailer,
    ):
        said = await world.assigned("ord-1")
        await mailer.logged("mail_server_refuses_us")
        await mailer.logged("the certificate does not verify: ")
        delivery = await world.until(said, "due")
        assert not server.mails()
        log = mailer.log
    if is_self_signed:
        assert "self-signed certificate" in log
    assert delivery["attempts"] == 0


async def test_a_certificate_is_accepted_where_its_authority_is_configured(
    world: World, authority: trustme.CA, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with postfix(**with_tls(certified(authority, tmp_path))) as server:
        settings = sending_to(world, server, NOT_LOOPBACK).model_copy(update={"smtp_tls_cafile": tmp_path / "ca.pem"})
        async with process("mail", settings):
            said = await world.assigned("ord-1")
            assert (await world.until(said, "sent"))["attempts"] == 1
            mails = await delivered(server, 1)
    assert_tells(mails[said.notification_id], said)
    assert "using TLSv1.3" in mails[said.notification_id]["Received"]


def sending_to(world: World, server: Postfix, host: str = HOST) -> Settings:
    """The settings of a mailer that sends there."""
    return world.settings.model_copy(update={"smtp_url": SecretStr(f"smtp://{host}:{server.port}")})


def certified(authority: trustme.CA, folder: Path) -> Path:
    """A file with a key and its certificate."""
    path = folder / "chain.pem"
    authority.issue_cert(NOT_LOOPBACK).private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def with_tls(chain: Path) -> dict[str, str]:
    """Postfix' settings, with this key and certificate."""
    return {
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_chain_files": str(chain),
        "smtpd_tls_received_header": "yes",
    }


async def delivered(server: Postfix, count: int) -> dict[UUID, EmailMessage]:
    """So many mails in the mailbox, by their notifications."""
    await until(lambda: len(server.mails()) >= count, what=f"{count} mails in the mailbox")
    return {UUID(mail["Message-ID"].strip("<>").partition("@")[0]): mail for mail in server.mails()}


async def outcome_of(world: World, said: WalletAssigned) -> str:
    """What the first attempt came to."""

    async def tried() -> str | None:
        delivery = await world.delivery(said)
        return delivery and delivery["outcome"]

    return str(await until(tried, what="an attempt"))
