"""The mails that a customer gets: from plain data to the bytes of a message. No I/O, no clock."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import getaddresses, parseaddr
from uuid import UUID

from email_validator import EmailNotValidError, validate_email

from consumers.mailer import mime
from consumers.mailer.languages import Language, Rendered, Templates, shipped
from consumers.mailer.qr import qr_png
from schemas.payments import payment_uri
from schemas.settings import SettingsError

_AMOUNT = re.compile(r"[0-9]{1,40}(?:\.[0-9]{1,40})?")
_ADDRESS = re.compile(r"[A-Za-z0-9:_-]{1,128}")
_PLAIN_RECIPIENT = re.compile(
    r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}", re.ASCII
)


class UnwritableLetter(ValueError):
    """What the letter is to say is missing or odd. The message names the field, never what it says."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who the mails are from."""

    name: str
    address: str

    @property
    def domain(self) -> str:
        """What stands behind the @."""
        return self.address.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Letter:
    """A wallet is assigned: everything that the mail says."""

    notification_id: UUID
    recipient: str
    locale: str
    order_id: str
    currency: str
    currency_name: str
    network: str
    address: str
    amount: str
    expires_at: datetime
    company: str
    sender: Sender
    written_at: datetime
    payment_pattern: str | None = None
    "How wallets read a payment (schemas.payments); the QR code has the bare address where there is none."


@dataclass(frozen=True, slots=True)
class QueuedLetter:
    """An order waits for a wallet: everything that the mail says."""

    notification_id: UUID
    recipient: str
    locale: str
    order_id: str
    currency: str
    currency_name: str
    network: str
    amount: str
    place: int
    "1 is the next."
    company: str
    sender: Sender
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """A mail as a server takes it: the envelope and the bytes."""

    sender: str
    recipient: str
    content: bytes
    needs_smtputf8: bool


def read_sender(mail_from: str) -> Sender:
    """WALLETQ_MAIL_FROM, as `Name <address>` or an address alone.

    Raises:
        SettingsError: there is no valid address in it, or more than one.
    """
    if len(getaddresses([mail_from])) > 1:
        raise SettingsError("WALLETQ_MAIL_FROM: expected one address; a name with a comma in it stands in quotes")
    name, address = parseaddr(mail_from)
    try:
        checked = validate_email(address, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise SettingsError(f"WALLETQ_MAIL_FROM: expected `Name <address@domain>`: {error}") from None
    if checked.ascii_email is None:
        raise SettingsError("WALLETQ_MAIL_FROM: expected an address in ASCII, so that every mail server takes it")
    return Sender(name, checked.ascii_email)


def compose(letter: Letter, templates: Templates | None = None) -> Message:
    """Write the mail: multipart/alternative of a text and an HTML with the payment as a QR code.

    Raises:
        UnwritableLetter: the recipient, the address or the amount is missing or odd.
    """
    language = (templates or shipped()).language(letter.locale)
    mark = letter.notification_id.hex
    content_id = f"qr.{mark}@{letter.sender.domain}"
    said = what_it_says(letter, f"cid:{content_id}")
    rendered = language.render("assigned", said)
    html = mime.multipart(
        "related",
        f"=_related_{mark}",
        [
            mime.text_part("html", rendered.html),
            mime.inline_png(qr_png(str(said["payment_uri"] or letter.address)), content_id, "address.png"),
        ],
        '; type="text/html"',
    )
    return _message(letter, language, rendered, html)


def compose_queued(letter: QueuedLetter, templates: Templates | None = None) -> Message:
    """Write the mail: multipart/alternative of a text and an HTML.

    Raises:
        UnwritableLetter: the recipient, the amount or the place is missing or odd.
    """
    language = (templates or shipped()).language(letter.locale)
    rendered = language.render("queued", what_it_says_queued(letter))
    html = mime.text_part("html", rendered.html)
    return _message(letter, language, rendered, html)


def what_it_says(letter: Letter, qr: str) -> Mapping[str, object]:
    """The variables of the templates. `qr`: the URL of the QR code."""
    if not _ADDRESS.fullmatch(letter.address):
        raise UnwritableLetter("address: expected 1 to 128 letters and digits")
    pattern = letter.payment_pattern
    return _order(letter) | {
        "address": letter.address,
        "expires_at": letter.expires_at,
        "payment_uri": payment_uri(pattern, letter.address, letter.amount) if pattern else None,
        "qr": qr,
    }


def what_it_says_queued(letter: QueuedLetter) -> Mapping[str, object]:
    """The variables of the templates."""
    if letter.place < 1:
        raise UnwritableLetter("place: expected 1 or more")
    return _order(letter) | {"place": letter.place, "ahead": letter.place - 1}


def _order(letter: Letter | QueuedLetter) -> dict[str, object]:
    if not _AMOUNT.fullmatch(letter.amount):
        raise UnwritableLetter("amount: expected plain digits with an optional fraction")
    return {
        "order_id": mime.one_line(letter.order_id),
        "currency": mime.one_line(letter.currency),
        "currency_name": mime.one_line(letter.currency_name),
        "network": mime.one_line(letter.network),
        "amount": letter.amount,
        "company": mime.one_line(letter.company),
    }


def _message(letter: Letter | QueuedLetter, language: Language, rendered: Rendered, html: bytes) -> Message:
    recipient = _deliverable(letter.recipient)
    sender = letter.sender
    headers = [
        ("From", mime.mailbox(sender.name, sender.address)),
        ("To", recipient),
        ("Subject", mime.unstructured(rendered.subject)),
        ("Date", mime.date(letter.written_at)),
        # The same for every attempt, so that a mail that is sent twice can be seen to be one.
        ("Message-ID", f"<{letter.notification_id}@{sender.domain}>"),
        ("Auto-Submitted", "auto-generated"),
        ("Content-Language", language.tag),
    ]
    parts = [mime.text_part("plain", rendered.text), html]
    content = mime.message(headers, mime.multipart("alternative", f"=_alternative_{letter.notification_id.hex}", parts))
    return Message(sender.address, recipient, content, not recipient.isascii())


def _deliverable(email: str) -> str:
    """The address in ASCII where it has such a form (RFC 5891), else as it is: then it needs SMTPUTF8."""
    if len(email) <= 254 and _PLAIN_RECIPIENT.fullmatch(email):
        return email
    try:
        checked = validate_email(email, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        raise UnwritableLetter("recipient: expected an e-mail address") from None
    return checked.ascii_email or checked.normalized
