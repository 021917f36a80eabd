"""DKIM: the sender's signature over a mail (RFC 6376, RFC 8301, RFC 8463).

Written by hand over `cryptography`, since dkimpy takes more than six milliseconds for an RSA signature, in which a
mailer sends six mails; the tests verify with dkimpy. Canonicalisation is relaxed/simple: relays may fold headers anew,
and our bodies have nothing that they would touch.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from consumers.mailer.letters import Message
from schemas.settings import Settings, SettingsError

FEWEST_RSA_BITS = 1_024  # RFC 8301, section 3.2
_ONCE_MORE = (b"From", b"To", b"Subject", b"Date", b"Reply-To", b"Cc")
"Named once more than they are there (RFC 6376, section 5.4.2): who adds another one breaks the signature."

_WHITE_SPACE = re.compile(rb"[ \t\r\n]+")
_LINE = re.compile(rb".{1,72}")


class Signer:
    """Signs for a domain."""

    def __init__(self, key: RSAPrivateKey | Ed25519PrivateKey, domain: str, selector: str) -> None:
        """With the key whose public half is in DNS at `<selector>._domainkey.<domain>`."""
        self._algorithm, self._signature = _algorithm(key)
        self._names = f"d={domain}; s={selector};".encode()

    def sign(self, message: Message, at: datetime) -> Message:
        """The message with a signature of this time in front."""
        head, _, body = message.content.partition(b"\r\n\r\n")
        headers = [header.partition(b":") for header in re.split(rb"\r\n(?![ \t])", head)]
        body_hash = hashlib.sha256(body.rstrip(b"\r\n") + b"\r\n").digest()
        unsigned = b"v=1; a=%s; c=relaxed/simple;\r\n %s t=%d;\r\n h=%s;\r\n bh=%s;\r\n b=" % (
            self._algorithm,
            self._names,
            at.timestamp(),
            b":\r\n  ".join([*(name for name, _, _ in headers), *_ONCE_MORE]),
            base64.b64encode(body_hash),
        )
        signed = b"".join(_relaxed(name, value) + b"\r\n" for name, _, value in headers)
        signature = self._signature(signed + _relaxed(b"DKIM-Signature", unsigned))
        folded = b"\r\n ".join(_LINE.findall(base64.b64encode(signature)))
        return replace(message, content=b"DKIM-Signature: " + unsigned + folded + b"\r\n" + message.content)


def read_signer(settings: Settings, domain: str) -> Signer | None:
    """Who signs under these settings; None where nothing is said of DKIM.

    Raises:
        SettingsError: the key cannot sign, or it or the selector is missing.
    """
    name = "WALLETQ_MAIL_DKIM_KEY"
    selector, pem = settings.mail_dkim_selector, settings.mail_dkim_key
    if selector is None and pem is None:
        return None
    if selector is None or pem is None:
        raise SettingsError(f"WALLETQ_MAIL_DKIM_SELECTOR and {name} go together: one of them is not set")
    try:
        key = load_pem_private_key(pem.get_secret_value().encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"{name}: expected a private key in PEM, without a passphrase") from None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise SettingsError(f"{name}: expected an RSA or an Ed25519 key")
    if isinstance(key, RSAPrivateKey) and key.key_size < FEWEST_RSA_BITS:
        raise SettingsError(f"{name}: expected an RSA key of {FEWEST_RSA_BITS} bits or more, found {key.key_size}")
    return Signer(key, domain, selector)


def _algorithm(key: RSAPrivateKey | Ed25519PrivateKey) -> tuple[bytes, Callable[[bytes], bytes]]:
    if isinstance(key, RSAPrivateKey):
        padding, digest = PKCS1v15(), SHA256()
        return b"rsa-sha256", lambda data: key.sign(data, padding, digest)
    return b"ed25519-sha256", lambda data: key.sign(hashlib.sha256(data).digest())


def _relaxed(name: bytes, value: bytes) -> bytes:
    """A header without its end, as RFC 6376, section 3.4.2, brings it into one form."""
    return name.lower() + b":" + _WHITE_SPACE.sub(b" ", value).strip()
