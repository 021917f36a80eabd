"""What the tests of letters share: letters of all kinds, and how a mail is read back."""

import struct
import zlib
from datetime import UTC, datetime
from email import message_from_string, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from uuid import UUID

import zxingcpp
from hypothesis import strategies as st

from consumers.mailer.letters import Letter, QueuedLetter, Sender

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
QUEUED = QueuedLetter(
    notification_id=LETTER.notification_id,
    recipient="ann@example.com",
    locale="en",
    order_id="ord-7f3c",
    currency="USDT",
    currency_name="Tether USD",
    network="TRC-20",
    amount="250.00",
    place=3,
    company="Acme",
    sender=SENDER,
    written_at=LETTER.written_at,
)

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
        "--=_alternative_" + LETTER.notification_id.hex,
        "From me",
        "a" * 64,
        "я" * 64,
        "🦊" * 64,
        'quo"ted \\ back',
        "a\u2007b\u00a0c",
    ]
)
words = printable | tricky
"What the contract lets through."
anything = (
    words
    | st.text(max_size=80)
    | st.sampled_from(["a\r\nBcc: eve@example.com", "a\n\nb", "a\rb", "a\x85b", "a\u2028b", "\0", "\ud800", ""])
)
"What a database could have in spite of the contract."
addresses = st.text("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", min_size=26, max_size=62)
amounts = st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,18})?", fullmatch=True)
recipients = st.sampled_from(
    ["ann@example.com", "o'neil+tag@sub.example.org", "añn@example.com", "ann@пример.рф", "a@xn--e1afmkfd.xn--p1ai"]
)
locales = st.sampled_from(["en", "ru", "ru-RU", "RU", "de", "en-GB", "zh-Hant-TW"])
patterns = st.sampled_from([None, "bitcoin:{address}?amount={amount}", "ethereum:{address}@1?value={amount:18}"])
times = st.datetimes(datetime(2000, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def _codes(text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return text.map(lambda code: code[:32]).filter(lambda code: code.strip() != "")


letters = st.builds(
    Letter,
    notification_id=st.uuids(),
    recipient=recipients,
    locale=locales,
    order_id=words,
    currency=_codes(words),
    currency_name=words,
    network=_codes(words),
    address=addresses,
    amount=amounts,
    expires_at=times,
    company=words,
    sender=st.builds(Sender, words | st.just(""), st.just(SENDER.address)),
    written_at=times,
    payment_pattern=patterns,
)
queued_letters = st.builds(
    QueuedLetter,
    notification_id=st.uuids(),
    recipient=recipients,
    locale=locales,
    order_id=words,
    currency=_codes(words),
    currency_name=words,
    network=_codes(words),
    amount=amounts,
    place=st.integers(1, 10**6),
    company=words,
    sender=st.builds(Sender, words | st.just(""), st.just(SENDER.address)),
    written_at=times,
)
_odd = {
    "notification_id": st.uuids(),
    "recipient": recipients,
    "locale": locales | anything,
    "order_id": anything,
    "currency": anything,
    "currency_name": anything,
    "network": anything,
    "amount": amounts,
    "company": anything,
    "sender": st.builds(Sender, anything, st.just(SENDER.address)),
    "written_at": times,
}
odd_letters = st.builds(Letter, address=addresses, expires_at=times, payment_pattern=patterns, **_odd) | st.builds(
    QueuedLetter, place=st.integers(1, 10**6), **_odd
)
"Letters whose words may be anything."


def parse(content: bytes) -> EmailMessage:
    """A mail as the standard library reads it."""
    mail = message_from_string(content.decode(), policy=policy.default)  # from bytes it misreads RFC 6532's headers
    assert isinstance(mail, EmailMessage)
    return mail


def body(mail: EmailMessage, kind: str) -> str:
    """The text of the plain or the html part."""
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


class Page(HTMLParser):
    """The text, the elements and the links of an HTML page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        self.tags.append((tag, dict(attrs)))
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "background", "srcset")]

    def handle_data(self, data: str) -> None:
        """See HTMLParser."""
        self.text += data


def pixels(png: bytes) -> list[list[int]]:
    """The pixels of a PNG of one bit a pixel, whose rows have no filter, or repeat the row above: 1 is white."""
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
    found: list[list[int]] = []
    for row in (packed[at : at + size] for at in range(0, size * height, size)):
        if row[0] == 2:
            assert not any(row[1:])
            found.append(found[-1])
        else:
            assert row[0] == 0
            found.append([int(bit) for bit in "".join(f"{byte:08b}" for byte in row[1:])[:width]])
    return found


def scanned(png: bytes) -> str:
    """What a wallet reads from the image."""
    rows = pixels(png)
    image = memoryview(bytes(255 * bit for row in rows for bit in row)).cast("B", (len(rows), len(rows[0])))
    [code] = zxingcpp.read_barcodes(image)
    return code.text
