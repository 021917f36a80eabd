"""What the tests of DKIM share: keys, and a verifier (dkimpy) whose DNS has their public halves."""

import base64
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretStr

from schemas.settings import Settings

RSA, ED25519 = "rsa", "ed25519"
KEYS: dict[str, RSAPrivateKey | Ed25519PrivateKey] = {
    RSA: generate_private_key(65537, 2048),
    ED25519: Ed25519PrivateKey.generate(),
}


def pem(key: Any) -> str:
    """The private key as WALLETQ_MAIL_DKIM_KEY has it."""
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def settings_with(key: RSAPrivateKey | Ed25519PrivateKey) -> Settings:
    """Settings that have mails signed."""
    return Settings(mail_dkim_selector="mail", mail_dkim_key=SecretStr(pem(key)))


def verifies(content: bytes) -> bool:
    """Whether the signature holds."""

    def dns(name: bytes, **_: object) -> bytes:
        assert name == b"mail._domainkey.walletq.example."
        return _record(RSA if b"a=rsa-sha256" in content else ED25519)

    return bool(dkim.verify(content, dnsfunc=dns))


def _record(kind: str) -> bytes:
    key = KEYS[kind].public_key()
    if kind == RSA:
        public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        public = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return b"v=DKIM1; k=" + kind.encode() + b"; p=" + base64.b64encode(public)
