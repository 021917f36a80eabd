"""Messages as bytes: RFC 5322 headers and MIME parts.

Written by hand, since a mailer that composes a thousand messages a second cannot wait for `email.message`, which
takes two to three milliseconds for each; the tests read every message back with it.
"""

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime

_ENCODED_BYTES = 39  # in base64 with its frame 64 characters, and 73 behind "Subject: ": RFC 2047 allows 76
_PLAIN_LENGTH = 60  # of a header's value, so that its line keeps below 78 (RFC 5322, section 2.1.1)
_WORDS_ARE_PLAIN = frozenset("!#$%&'*+-/=?^_`{|}~ abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_BASE64_LINE = re.compile(rb".{1,76}", re.DOTALL)
_AS_IT_IS = re.compile(rb"(?:(?!From |--=_)(?:[ -~]{0,997}[!-~])?(?:\n|\Z))*+")
"""Lines in ASCII, none too long, none that old relays would change (one that begins with "From ", one that ends with
white space), which would break a signature, and none that begins like a boundary."""


class HeaderInjection(ValueError):
    """A header's value would end the header. The message names the header, never the value."""


def one_line(text: str) -> str:
    """The text with a space in the place of everything that ends a line or controls a terminal."""
    if text.isprintable():
        return text
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


def unstructured(text: str) -> str:
    """Text as the value of a header such as Subject; nothing in it can end the header or begin another."""
    if (
        text.isascii()
        and text.isprintable()
        and len(text) <= _PLAIN_LENGTH
        and "=?" not in text
        and text == text.strip()
    ):
        return text
    return _encoded_words(one_line(text))


def mailbox(name: str, address: str) -> str:
    """A name and an address (valid, see `schemas.fields.Email`) as the value of From or To."""
    if not name:
        return address
    if _WORDS_ARE_PLAIN.issuperset(name) and len(name) <= _PLAIN_LENGTH and "=?" not in name and name == name.strip():
        return f'"{name}" <{address}>'
    return f"{_encoded_words(one_line(name))}\r\n <{address}>"


def date(at: datetime) -> str:
    """A time as the value of Date."""
    return format_datetime(at)


def text_part(subtype: str, text: str) -> bytes:
    """A text/… part in UTF-8: as it is where every relay leaves it so, else in base64."""
    content = text.encode()
    lines = content.replace(b"\n", b"\r\n")
    if content.isascii() and _AS_IT_IS.fullmatch(content):
        encoding, body = "7bit", lines
    else:
        encoding, body = "base64", _base64(lines)
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    return head.encode() + body


def inline_png(content: bytes, content_id: str, filename: str) -> bytes:
    """An image that the HTML of the same multipart/related shows as `cid:<content_id>`."""
    head = (
        f"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\nContent-ID: <{content_id}>\r\n"
        f'Content-Disposition: inline; filename="{filename}"\r\n\r\n'
    )
    return head.encode() + _base64(content)


def multipart(subtype: str, boundary: str, parts: Iterable[bytes], parameters: str = "") -> bytes:
    """A multipart/… of parts. The boundary begins with "=_", which begins no line of a part."""
    head = f'Content-Type: multipart/{subtype}; boundary="{boundary}"{parameters}\r\n\r\n'.encode()
    line = b"--" + boundary.encode()
    return head + b"".join(line + b"\r\n" + part.rstrip(b"\r\n") + b"\r\n\r\n" for part in parts) + line + b"--\r\n"


def message(headers: Iterable[tuple[str, str]], part: bytes) -> bytes:
    """A whole message. Values with characters beyond ASCII need SMTPUTF8 (RFC 6532).

    Raises:
        HeaderInjection: a value has a line end that is not its own folding.
    """
    lines = []
    for name, value in headers:
        unfolded = value.replace("\r\n ", "")
        if "\n" in unfolded or "\r" in unfolded:
            raise HeaderInjection(f"the value of {name} has a line end")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode() + b"MIME-Version: 1.0\r\n" + part


def _encoded_words(text: str) -> str:
    """RFC 2047, section 2; no character is split between two words."""
    chunks: list[bytes] = [b""]
    for character in text:
        encoded = character.encode()
        if len(chunks[-1]) + len(encoded) > _ENCODED_BYTES:
            chunks.append(b"")
        chunks[-1] += encoded
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(chunk).decode()}?=" for chunk in chunks)


def _base64(content: bytes) -> bytes:
    return b"\r\n".join(_BASE64_LINE.findall(binascii.b2a_base64(content, newline=False))) + b"\r\n"
