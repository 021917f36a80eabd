"""DKIM: another library verifies what we sign, and sees every change."""

from dataclasses import replace
from datetime import UTC, datetime

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from consumers.mailer.dkim import Signer, read_signer
from consumers.mailer.letters import Letter, Message, QueuedLetter, compose, compose_queued
from schemas.settings import Settings, SettingsError
from tests.unit.letters import LETTER, QUEUED, SENDER, letters, parse, queued_letters
from tests.unit.signatures import ED25519, KEYS, RSA, pem, settings_with, verifies

SIGNED_AT = datetime(2026, 1, 1, tzinfo=UTC)  # a verifier refuses what was signed in its future


def signer(key: str) -> Signer:
    found = read_signer(settings_with(KEYS[key]), SENDER.domain)
    assert found is not None
    return found


def written(letter: Letter | QueuedLetter) -> Message:
    return compose(letter) if isinstance(letter, Letter) else compose_queued(letter)


@settings(deadline=None)
@given(letters | queued_letters, st.sampled_from([RSA, ED25519]))
def test_another_library_verifies_what_we_sign(letter: Letter | QueuedLetter, key: str) -> None:
    message = written(letter)
    signed = signer(key).sign(message, SIGNED_AT)
    assert verifies(signed.content)
    assert signed == replace(message, content=signed.content)
    assert signed.content.endswith(message.content)
    assert max(map(len, signed.content.split(b"\r\n"))) <= 998
    mail = parse(signed.content)
    assert mail.keys()[0] == "DKIM-Signature"
    assert mail["DKIM-Signature"].count("d=walletq.example; s=mail;") == 1


@pytest.mark.parametrize("key", [RSA, ED25519])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (LETTER.address.encode(), LETTER.address[::-1].encode()),
        (b"Subject: ", b"Subject: Re: "),
        (b"To: ann@", b"To: eve@"),
        (b"\r\nFrom: ", b"\r\nFrom: <eve@example.com>\r\nFrom: "),
        (b"\r\nFrom: ", b"\r\nReply-To: eve@example.com\r\nFrom: "),
        (b"Content-Type: multipart/alternative", b"Content-Type: multipart/mixed"),
    ],
)
def test_a_change_breaks_the_signature(key: str, before: bytes, after: bytes) -> None:
    content = signer(key).sign(compose(LETTER), SIGNED_AT).content
    assert before in content
    assert not verifies(content.replace(before, after, 1))


@pytest.mark.parametrize("key", [RSA, ED25519])
def test_what_relays_do_leaves_the_signature_whole(key: str) -> None:
    content = signer(key).sign(compose_queued(QUEUED), SIGNED_AT).content
    relayed = b"Received: from a by b;\r\n\tSun, 22 Nov 2026 16:00:01 +0000\r\n" + content + b"\r\n"
    assert verifies(relayed.replace(b"\r\nSubject: walletq", b"\r\nSUBJECT:\r\n\t walletq").replace(b"To: ", b"to:  "))


def test_the_same_letter_has_the_same_signature() -> None:
    assert signer(RSA).sign(compose(LETTER), SIGNED_AT) == signer(RSA).sign(compose(LETTER), SIGNED_AT)


def test_nothing_is_signed_where_nothing_is_said_of_dkim() -> None:
    assert read_signer(Settings(), SENDER.domain) is None


@pytest.mark.parametrize("only", [{"mail_dkim_selector": "mail"}, {"mail_dkim_key": SecretStr(pem(KEYS[RSA]))}])
def test_a_selector_without_a_key_or_a_key_without_a_selector_is_refused(only: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="WALLETQ_MAIL_DKIM_SELECTOR and WALLETQ_MAIL_DKIM_KEY go together"):
        read_signer(Settings.model_validate(only), SENDER.domain)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("secret", "a private key in PEM"),
        (pem(KEYS[RSA]).replace("A", "B"), "a private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "an RSA or an Ed25519 key"),
        (
            ed25519.Ed25519PrivateKey.generate()
            .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
            .decode(),
            "without a passphrase",
        ),
    ],
)
def test_a_key_that_cannot_sign_is_refused_and_not_told(key: str, problem: str) -> None:
    wrong = Settings(mail_dkim_selector="mail", mail_dkim_key=SecretStr(key))
    with pytest.raises(SettingsError, match=f"WALLETQ_MAIL_DKIM_KEY: expected .*{problem}") as raised:
        read_signer(wrong, SENDER.domain)
    assert key not in str(raised.value)


def test_a_key_in_another_format_of_pem_signs() -> None:
    key = rsa.generate_private_key(65537, 2048)
    old = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    found = read_signer(Settings(mail_dkim_selector="mail", mail_dkim_key=SecretStr(old)), SENDER.domain)
    assert found is not None
    assert dkim.verify(found.sign(compose(LETTER), SIGNED_AT).content, dnsfunc=lambda *_, **__: b"") is False
