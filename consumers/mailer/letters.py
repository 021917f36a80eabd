"""The mail that tells a customer where to pay: from plain data to the bytes of a message. No I/O, no clock."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parseaddr
from functools import lru_cache
from uuid import UUID

from babel.dates import format_datetime
from email_validator import EmailNotValidError, validate_email
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from consumers.mailer import mime
from consumers.mailer.qr import qr_png
from schemas.settings import SettingsError

LOCALES = ("en", "ru")
_DATE_PATTERNS = {"en": "EEEE, d MMMM y 'at' HH:mm 'UTC'", "ru": "EEEE, d MMMM y 'г.' 'в' HH:mm 'UTC'"}


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
    """Everything that a mail says."""

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


@dataclass(frozen=True, slots=True)
class QueuedLetter:
    """Everything that the mail of an order that waits says."""

    notification_id: UUID
    recipient: str
    locale: str
    order_id: str
    currency: str
    currency_name: str
    network: str
    amount: str
    place: int
    "In the queue; 1 is the next to be served."
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
        SettingsError: there is no valid address in it.
    """
    name, address = parseaddr(mail_from)
    try:
        checked = validate_email(address, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise SettingsError(f"WALLETQ_MAIL_FROM: expected `Name <address@domain>`: {error}") from None
    if checked.ascii_email is None:
        raise SettingsError("WALLETQ_MAIL_FROM: expected an address in ASCII, so that every mail server takes it")
    return Sender(name, checked.ascii_email)


def compose(letter: Letter) -> Message:
    """Write the mail: multipart/alternative of a text and an HTML with the address as a QR code."""
    locale = language(letter.locale)
    recipient = _deliverable(letter.recipient)
    mark = letter.notification_id.hex
    content_id = f"qr.{mark}@{letter.sender.domain}"
    said = {
        "order_id": letter.order_id,
        "currency": letter.currency,
        "currency_name": letter.currency_name,
        "network": letter.network,
        "address": letter.address,
        "amount": letter.amount,
        "expires": format_datetime(letter.expires_at, _DATE_PATTERNS[locale], tzinfo=UTC, locale=locale),
        "company": letter.company,
        "content_id": content_id,
        "lang": locale,
    }
    html = mime.multipart(
        "related",
        f"=_related_{mark}",
        [
            mime.text_part("html", _template(f"{locale}/letter.html").render(said)),
            mime.inline_png(qr_png(letter.address), content_id, "address.png"),
        ],
        '; type="text/html"',
    )
    text = mime.text_part("plain", _template(f"{locale}/letter.txt").render(said))
    headers = [
        ("From", mime.mailbox(letter.sender.name, letter.sender.address)),
        ("To", recipient),
        ("Subject", mime.unstructured(_template(f"{locale}/subject.txt").render(said))),
        ("Date", mime.date(letter.written_at)),
        # The same for every attempt, so that a mail that is sent twice can be seen to be one.
        ("Message-ID", f"<{letter.notification_id}@{letter.sender.domain}>"),
        ("Auto-Submitted", "auto-generated"),
        ("Content-Language", locale),
    ]
    content = mime.message(headers, mime.multipart("alternative", f"=_alternative_{mark}", [text, html]))
    return Message(letter.sender.address, recipient, content, not recipient.isascii())


def compose_queued(letter: QueuedLetter) -> Message:
    """Write the mail of an order that waits: its place in the queue."""
    locale = language(letter.locale)
    recipient = _deliverable(letter.recipient)
    headers = [
        ("From", mime.mailbox(letter.sender.name, letter.sender.address)),
        ("To", recipient),
        ("Subject", mime.unstructured(f"{letter.company}: {letter.order_id}")),
        ("Date", mime.date(letter.written_at)),
        ("Message-ID", f"<{letter.notification_id}@{letter.sender.domain}>"),
        ("Auto-Submitted", "auto-generated"),
        ("Content-Language", locale),
    ]
    said = f"{letter.order_id}: {letter.amount} {letter.currency} ({letter.network})\n#{letter.place}\n"
    return Message(
        letter.sender.address,
        recipient,
        mime.message(headers, mime.text_part("plain", said)),
        not recipient.isascii(),
    )


def language(locale: str) -> str:
    """The language that we write for a language tag (BCP 47): its primary language, or English."""
    primary = locale.partition("-")[0].lower()
    return primary if primary in LOCALES else "en"


def _deliverable(email: str) -> str:
    """The address in ASCII where it has such a form (RFC 5891), else as it is: then it needs SMTPUTF8."""
    if email.isascii():
        return email
    checked = validate_email(email, check_deliverability=False, globally_deliverable=False)
    return checked.ascii_email or checked.normalized


@lru_cache
def _template(name: str) -> Template:
    return _environment().get_template(name)


@lru_cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("consumers.mailer"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
