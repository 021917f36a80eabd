"""Letters: whatever an order says, its mail is well-formed, and the customer reads the right address."""

import re
from dataclasses import replace
from datetime import timedelta, timezone
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.mailer import mime
from consumers.mailer.letters import (
    Letter,
    Message,
    QueuedLetter,
    Sender,
    UnwritableLetter,
    compose,
    compose_queued,
    read_sender,
)
from consumers.mailer.qr import PIXELS_PER_MODULE, qr_png
from schemas.payments import payment_uri
from schemas.settings import SettingsError
from tests.unit.letters import (
    LETTER,
    QUEUED,
    SENDER,
    Page,
    addresses,
    amounts,
    anything,
    body,
    letters,
    odd_letters,
    parse,
    pixels,
    queued_letters,
    scanned,
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
QUIET_ZONE = 4  # modules of white around the code (ISO/IEC 18004)


def written(letter: Letter | QueuedLetter) -> Message:
    return compose(letter) if isinstance(letter, Letter) else compose_queued(letter)


@settings(deadline=None)
@given(letters)
def test_every_mail_reads_back_as_it_was_meant(letter: Letter) -> None:
    mail = parse(compose(letter).content)
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
    page = Page(body(mail, "html"))
    for said in (letter.order_id, letter.amount, letter.network, letter.currency_name, letter.company, "UTC"):
        assert said in text
        assert said in page.text
    assert letter.address in page.text  # which is what is copied, however it is shown
    image = next(part for part in mail.walk() if part.get_content_type() == "image/png")
    assert page.links == [f"cid:{image['Content-ID'][1:-1]}"]
    pattern = letter.payment_pattern
    uri = payment_uri(pattern, letter.address, letter.amount) if pattern else letter.address
    assert scanned(image.get_content()) == uri


@settings(deadline=None)
@given(queued_letters)
def test_every_mail_of_a_queued_order_reads_back_as_it_was_meant(letter: QueuedLetter) -> None:
    mail = parse(compose_queued(letter).content)
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert all(part.defects == [] for part in mail.walk())
    text, page = body(mail, "plain"), Page(body(mail, "html"))
    for said in (letter.order_id, f"{letter.amount} {letter.currency}", letter.network, letter.currency_name):
        assert said in text
        assert said in page.text
    for said in (str(letter.place), letter.company):
        assert said in text
        assert said in page.text
    assert page.links == []


@settings(deadline=None)
@given(letters | queued_letters)
def test_the_headers_say_what_the_letter_says(letter: Letter | QueuedLetter) -> None:
    mail = parse(written(letter).content)
    subject = str(mail["Subject"])
    # The standard library joins white space where it unfolds; what matters is that nothing else is lost.
    assert squeezed(letter.order_id) in squeezed(subject)
    assert squeezed(letter.company) in squeezed(subject)
    [sender] = mail["From"].addresses
    assert sender.addr_spec == SENDER.address
    assert squeezed(sender.display_name) == squeezed(letter.sender.name)
    [recipient] = mail["To"].addresses
    assert recipient.addr_spec.partition("@")[0] == letter.recipient.partition("@")[0]
    assert mail["Message-ID"] == f"<{letter.notification_id}@walletq.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Content-Language"] == ("ru" if letter.locale.lower().startswith("ru") else "en")
    assert mail["Date"].datetime == letter.written_at.replace(microsecond=0)


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


@settings(deadline=None, max_examples=300)
@given(odd_letters)
def test_no_field_adds_a_header_or_a_line_that_smtp_cannot_take(letter: Letter | QueuedLetter) -> None:
    message = written(letter)
    assert_well_formed(message)
    mail = parse(message.content)
    assert [address.addr_spec for address in mail["To"].addresses] == [message.recipient]
    assert [address.addr_spec for address in mail["From"].addresses] == [SENDER.address]
    assert mail["Message-ID"] == f"<{letter.notification_id}@walletq.example>"
    assert squeezed(mime.one_line(letter.order_id)) in squeezed(mail["Subject"])
    for said in (letter.order_id, letter.network, letter.company):
        assert mime.one_line(said) in Page(body(mail, "html")).text


@settings(deadline=None, max_examples=300)
@given(recipient=anything | st.emails(), address=anything | addresses, amount=anything | amounts)
def test_what_says_whom_to_pay_what_is_right_or_refused(recipient: str, address: str, amount: str) -> None:
    try:
        message = compose(replace(LETTER, recipient=recipient, address=address, amount=amount))
    except UnwritableLetter:
        return
    assert_well_formed(message)
    mail = parse(message.content)
    [to] = mail["To"].addresses
    assert to.addr_spec == message.recipient
    assert to.username == recipient.rpartition("@")[0]
    assert {address, amount} <= set(body(mail, "plain").split())


def assert_well_formed(message: Message) -> None:
    content = message.content
    head, _, rest = content.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0].decode() for line in head.split(b"\r\n") if not line.startswith(b" ")]
    assert sorted(names) == sorted(HEADERS)
    mail = parse(content)
    assert sorted(mail.keys()) == sorted(HEADERS)
    assert all(part.defects == [] for part in mail.walk())
    assert all(not re.search(r"[\r\n\0]", str(value)) for value in mail.values())
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert b"\r" not in content.replace(b"\r\n", b"")
    assert rest.isascii()
    assert head.isascii() != message.needs_smtputf8
    assert message.needs_smtputf8 == (not message.recipient.isascii())


@given(anything, anything)
def test_a_header_can_hold_any_text_and_nothing_can_end_it(name: str, subject: str) -> None:
    content = mime.message(
        [("From", mime.mailbox(name, SENDER.address)), ("Subject", mime.unstructured(subject))],
        mime.text_part("plain", ""),
    )
    mail = parse(content)
    assert sorted(mail.keys()) == ["Content-Transfer-Encoding", "Content-Type", "From", "MIME-Version", "Subject"]
    assert squeezed(mail["Subject"]) == squeezed(mime.one_line(subject))
    assert all(len(line) <= 76 for line in content.split(b"\r\n") if b"=?" in line)  # RFC 2047, section 2


@pytest.mark.parametrize("value", ["a\nBcc: eve@example.com", "a\r\nBcc: eve@example.com", "a\rb"])
def test_a_header_that_would_begin_another_is_not_written(value: str) -> None:
    with pytest.raises(mime.HeaderInjection, match="To") as raised:
        mime.message([("To", value)], b"")
    assert "eve" not in str(raised.value)


@given(st.lists(anything | st.sampled_from(["x" * 998, "x" * 999, "ends with white space ", "--=_b"]), max_size=8))
def test_a_part_can_hold_any_text(lines: list[str]) -> None:
    text = "\n".join(mime.one_line(line) for line in lines)
    content = mime.message([], mime.multipart("mixed", "=_b", [mime.text_part("plain", text)] * 2))
    mail = parse(content)
    parts = list(mail.iter_parts())
    assert len(parts) == 2
    assert all(isinstance(part, EmailMessage) and same_lines(part.get_content(), text) for part in parts)
    assert max(map(len, content.split(b"\r\n"))) <= 998


def same_lines(found: str, text: str) -> bool:
    return found.replace("\r\n", "\n").rstrip("\n") == text.rstrip("\n")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", ""),
        ("address", "T XYZ"),
        ("address", "TXYZ\nTABC"),
        ("address", "адрес"),
        ("address", "x" * 129),
        ("amount", ""),
        ("amount", "-1"),
        ("amount", "1e3"),
        ("amount", "1,5"),
        ("amount", "١"),
        ("amount", "NaN"),
        ("recipient", ""),
        ("recipient", "ann"),
        ("recipient", "ann@example.com, eve@example.com"),
        ("recipient", "ann@example.com\r\nBcc: eve@example.com"),
        ("recipient", "<ann@example.com>"),
    ],
)
def test_an_odd_field_is_named_and_not_told(field: str, value: str) -> None:
    with pytest.raises(UnwritableLetter, match=f"{field}: expected") as raised:
        compose(replace(LETTER, **{field: value}))  # type: ignore[arg-type]
    assert not value or value not in str(raised.value)


def test_a_place_before_the_first_is_odd() -> None:
    with pytest.raises(UnwritableLetter, match="place: expected"):
        compose_queued(replace(QUEUED, place=0))


@pytest.mark.parametrize("locale", ["", "-", "tlh", "../../etc", "en_US.UTF-8", "x" * 1_000])
def test_an_odd_locale_is_english(locale: str) -> None:
    assert parse(compose(replace(LETTER, locale=locale)).content)["Content-Language"] == "en"


@settings(deadline=None, max_examples=20)
@given(addresses)
def test_the_qr_code_has_its_quiet_zone_and_square_modules(address: str) -> None:
    rows = pixels(qr_png(address))
    size, border = len(rows), PIXELS_PER_MODULE * QUIET_ZONE
    assert all(len(row) == size for row in rows)
    assert all(all(row) for row in rows[:border] + rows[-border:])
    assert all(all(row[:border] + row[-border:]) for row in rows)
    assert not any(rows[border][border : border + 7 * PIXELS_PER_MODULE])  # the corner pattern begins at once


def test_the_same_letter_gives_the_same_bytes() -> None:
    assert compose(LETTER) == compose(LETTER)
    assert compose_queued(QUEUED) == compose_queued(QUEUED)


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
    mail = parse(compose(replace(LETTER, locale=locale, expires_at=tokyo + timedelta(seconds=59))).content)
    assert expiry in body(mail, "plain")
    assert expiry in Page(body(mail, "html")).text


@pytest.mark.parametrize(
    ("locale", "place", "said"),
    [
        ("en", 1, "Yours is the next."),
        ("en", 2, "1 order is ahead of yours."),
        ("en", 3, "2 orders are ahead of yours."),
        ("en", 22, "21 orders are ahead of yours."),
        ("ru", 1, "Ваш заказ следующий."),
        ("ru", 2, "Перед вами 1 заказ."),
        ("ru", 3, "Перед вами 2 заказа."),
        ("ru", 6, "Перед вами 5 заказов."),
        ("ru", 12, "Перед вами 11 заказов."),
        ("ru", 22, "Перед вами 21 заказ."),
    ],
)
def test_the_place_in_the_queue_is_said_in_words(locale: str, place: int, said: str) -> None:
    mail = parse(compose_queued(replace(QUEUED, locale=locale, place=place)).content)
    assert said in body(mail, "plain")
    assert said in Page(body(mail, "html")).text


def test_the_address_of_an_english_mail_stands_unbroken_in_its_source() -> None:
    assert b"\r\n" + LETTER.address.encode() + b"\r\n" in compose(LETTER).content


def test_an_idn_domain_goes_out_in_its_ascii_form() -> None:
    message = compose(replace(LETTER, recipient="ann@пример.рф"))
    assert message.recipient == "ann@xn--e1afmkfd.xn--p1ai"
    assert not message.needs_smtputf8


@pytest.mark.parametrize(
    ("mail_from", "sender"),
    [
        ("walletq <deposits@walletq.example>", SENDER),
        ("deposits@walletq.example", Sender("", "deposits@walletq.example")),
        ("Биржа <a@пример.рф>", Sender("Биржа", "a@xn--e1afmkfd.xn--p1ai")),
        ('"Acme, Inc." <deposits@walletq.example>', Sender("Acme, Inc.", "deposits@walletq.example")),
    ],
)
def test_a_sender_is_read(mail_from: str, sender: Sender) -> None:
    assert read_sender(mail_from) == sender


@pytest.mark.parametrize("mail_from", ["walletq", "a@b@c", "añn@example.com", "<>", "a@example.com, b@example.com"])
def test_a_sender_that_is_no_address_is_refused(mail_from: str) -> None:
    with pytest.raises(SettingsError, match="WALLETQ_MAIL_FROM"):
        read_sender(mail_from)


def test_a_name_with_a_comma_and_without_quotes_is_told() -> None:
    with pytest.raises(SettingsError, match="comma in it stands in quotes"):
        read_sender("Acme, Inc. <deposits@walletq.example>")
