"""Letters: whatever an order says, its mail is well-formed, and the customer reads the right address."""

import re
import struct
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_string, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from uuid import UUID

import pytest
import segno
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.mailer.letters import Letter, Sender, compose, language, read_sender
from consumers.mailer.qr import qr_png
from schemas.settings import SettingsError

SENDER = Sender("walletq", "deposits@walletq.example")
LETTER = Letter(
    notification_id=UUID("6f3c7f3c-1111-4222-8333-444455556666"),
    recipient="ann@example.com",
    locale="en",
    order_id="ord-7f3c",
    currency="USDT",
    currency_name="Tether USD",
    network="TRC-20",
    address="TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf",
    amount="250.00",
    expires_at=datetime(2026, 11, 22, 17, 30, tzinfo=UTC),
    company="Acme",
    sender=SENDER,
    written_at=datetime(2026, 11, 22, 16, 0, tzinfo=UTC),
)
HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "Content-Language",
    "MIME-Version",
    "Content-Type",
}

# What schemas.fields lets through as an identifier or a name, and settings as one line.
printable = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=64).filter(
    lambda text: text.strip() != ""
)
tricky = st.sampled_from(
    [
        "=?utf-8?q?=0d=0aBcc:_eve=40example.com?=",
        "<script>alert(1)</script>",
        "</td></tr><img src='https://example.com/x.png'>",
        "{{ 7 * 7 }}",
        "{% raw %}",
        ".",
        "..",
        "--=_alternative_0",
        "a" * 64,
        "я" * 64,
        "🦊" * 64,
        'quo"ted \\ back',
        "a\u2007b\u00a0c",
    ]
)
words = printable | tricky
addresses = st.text("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", min_size=26, max_size=62)
letters = st.builds(
    Letter,
    notification_id=st.uuids(),
    recipient=st.sampled_from(["ann@example.com", "o'neil+tag@sub.example.org", "añn@example.com", "ann@пример.рф"]),
    locale=st.sampled_from(["en", "ru", "ru-RU", "RU", "de", "en-GB", "zh-Hant-TW"]),
    order_id=words,
    currency=words.map(lambda text: text[:32]).filter(lambda text: text.strip() != ""),
    currency_name=words,
    network=words.map(lambda text: text[:32]).filter(lambda text: text.strip() != ""),
    address=addresses,
    amount=st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,18})?", fullmatch=True),
    expires_at=st.datetimes(datetime(2000, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    company=words,
    sender=st.builds(Sender, words | st.just(""), st.just("deposits@walletq.example")),
    written_at=st.datetimes(datetime(2000, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)


def parse(content: bytes) -> EmailMessage:
    mail = message_from_string(content.decode(), policy=policy.default)  # from bytes it misreads RFC 6532's headers
    assert isinstance(mail, EmailMessage)
    return mail


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content


class Page(HTMLParser):
    """The text and the images of an HTML page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "background", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += data


@settings(deadline=None)
@given(letters)
def test_every_mail_reads_back_as_it_was_meant(letter: Letter) -> None:
    message = compose(letter)
    mail = parse(message.content)
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
    ]
    assert all(part.defects == [] for part in mail.walk())
    text = body(mail, "plain")
    assert letter.address in text.splitlines()
    assert f"{letter.amount} {letter.currency}" in text
    assert letter.network in text
    assert letter.currency_name in text
    assert "UTC" in text
    page = Page(body(mail, "html"))
    for said in (letter.order_id, letter.address, letter.amount, letter.network, letter.currency_name, letter.company):
        assert said in page.text
    image = next(part for part in mail.walk() if part.get_content_type() == "image/png")
    assert page.links == [f"cid:{image['Content-ID'][1:-1]}"]
    assert image.get_content() == qr_png(letter.address)
    assert page.tags <= {
        "html",
        "head",
        "meta",
        "title",
        "body",
        "div",
        "p",
        "br",
        "table",
        "tr",
        "td",
        "strong",
        "code",
        "img",
    }


@settings(deadline=None)
@given(letters)
def test_no_field_adds_a_header_or_a_line_that_smtp_cannot_take(letter: Letter) -> None:
    message = compose(letter)
    head, _, rest = message.content.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0].decode() for line in head.split(b"\r\n") if not line.startswith(b" ")]
    assert len(names) == len(HEADERS)
    assert set(names) == HEADERS
    assert max(map(len, message.content.split(b"\r\n"))) <= 998
    assert b"\n" not in message.content.replace(b"\r\n", b"")
    assert b"\r" not in message.content.replace(b"\r\n", b"")
    assert rest.isascii()
    assert head.isascii() != message.needs_smtputf8
    assert message.needs_smtputf8 == (letter.recipient == "añn@example.com")


@settings(deadline=None)
@given(letters)
def test_the_subject_and_the_sender_say_what_the_letter_says(letter: Letter) -> None:
    mail = parse(compose(letter).content)
    subject = str(mail["Subject"])
    # The standard library joins white space where it unfolds; what matters is that nothing else is lost.
    assert squeezed(letter.order_id) in squeezed(subject)
    assert squeezed(letter.company) in squeezed(subject)
    [sender] = mail["From"].addresses
    assert sender.addr_spec == "deposits@walletq.example"
    [recipient] = mail["To"].addresses
    assert recipient.addr_spec.partition("@")[0] == letter.recipient.partition("@")[0]
    assert mail["Message-ID"] == f"<{letter.notification_id}@walletq.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime == letter.written_at.replace(microsecond=0)


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


@settings(deadline=None, max_examples=20)
@given(addresses)
def test_the_image_is_the_qr_code_of_the_address(address: str) -> None:
    code = segno.make(address, error="m", micro=False, boost_error=False, mask=3)
    assert pixels(qr_png(address)) == [list(row) for row in code.matrix_iter(scale=6, border=4)]


def pixels(png: bytes) -> list[list[int]]:
    """1 for every dark pixel of a PNG of one bit a pixel without filters."""
    chunks, at = {}, 8
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        chunks[kind] = data = png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + data),)
        at += 12 + length
    width, height, depth, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert depth == 1
    packed = zlib.decompress(chunks[b"IDAT"])
    size = 1 + (width + 7) // 8
    rows = [packed[row * size : (row + 1) * size] for row in range(height)]
    assert all(row[0] == 0 for row in rows)
    return [[int(bit == "0") for bit in "".join(f"{byte:08b}" for byte in row[1:])[:width]] for row in rows]


def test_the_same_letter_gives_the_same_bytes() -> None:
    assert compose(LETTER) == compose(LETTER)


@pytest.mark.parametrize(
    ("locale", "expiry"),
    [
        ("en", "Sunday, 22 November 2026 at 17:30 UTC"),
        ("ru", "воскресенье, 22 ноября 2026 г. в 17:30 UTC"),
        ("fr-CA", "Sunday, 22 November 2026 at 17:30 UTC"),
    ],
)
def test_the_expiry_is_said_in_words_with_its_time_zone(locale: str, expiry: str) -> None:
    tokyo = LETTER.expires_at.astimezone(timezone(timedelta(hours=9)))
    letter = Letter(
        **{name: getattr(LETTER, name) for name in Letter.__slots__} | {"locale": locale, "expires_at": tokyo}
    )
    mail = parse(compose(letter).content)
    assert expiry in body(mail, "plain")
    assert expiry in Page(body(mail, "html")).text


def test_the_address_of_an_english_mail_stands_unbroken_in_its_source() -> None:
    assert b"\r\n" + LETTER.address.encode() + b"\r\n" in compose(LETTER).content


@pytest.mark.parametrize(
    ("locale", "language_"), [("en", "en"), ("ru", "ru"), ("RU-ru", "ru"), ("de", "en"), ("rum", "en"), ("en-US", "en")]
)
def test_a_locale_falls_back_to_english(locale: str, language_: str) -> None:
    assert language(locale) == language_


def test_an_idn_domain_goes_out_in_its_ascii_form() -> None:
    letter = replace(LETTER, recipient="ann@пример.рф")
    message = compose(letter)
    assert message.recipient == "ann@xn--e1afmkfd.xn--p1ai"
    assert not message.needs_smtputf8


@pytest.mark.parametrize(
    ("mail_from", "sender"),
    [
        ("walletq <deposits@walletq.example>", SENDER),
        ("deposits@walletq.example", Sender("", "deposits@walletq.example")),
        ("Биржа <a@пример.рф>", Sender("Биржа", "a@xn--e1afmkfd.xn--p1ai")),
    ],
)
def test_a_sender_is_read(mail_from: str, sender: Sender) -> None:
    assert read_sender(mail_from) == sender


@pytest.mark.parametrize("mail_from", ["walletq", "a@b@c", "añn@example.com", "<>"])
def test_a_sender_that_is_no_address_is_refused(mail_from: str) -> None:
    with pytest.raises(SettingsError, match="WALLETQ_MAIL_FROM"):
        read_sender(mail_from)
