"""Addresses that are valid on their network, other spellings of them, and misspelt ones."""

import random

from bip_utils import Base58Decoder, Base58Encoder, SegwitBech32Encoder
from bip_utils.utils.crypto import Kekkak256

_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def address(network: str, rng: random.Random) -> str:
    """A valid address in its one form, of any of the kinds that the network has."""
    if network == "bitcoin":
        return _bitcoin_like(rng, "bc", 0x00, 0x05)
    if network == "litecoin":
        return _bitcoin_like(rng, "ltc", 0x30, 0x32)
    if network == "TRC-20":
        return _base58(0x41, rng.randbytes(20))
    if network in ("ethereum", "ERC-20", "BEP-20"):
        return _eip55(rng.randbytes(20).hex())
    raise ValueError(f"no addresses for the network {network!r}")


def respelt(network: str, one_form: str, rng: random.Random) -> str:
    """Another spelling of the same address, or the one form itself where there is no other."""
    if one_form.startswith("0x"):
        digits = one_form[2:]
        return "0x" + rng.choice([digits.lower(), digits.upper()])
    if one_form.startswith(("bc1", "ltc1")):
        return one_form.upper()
    if network == "litecoin" and one_form.startswith("M"):
        return _base58(0x05, Base58Decoder.CheckDecode(one_form)[1:])
    return one_form


def misspelt(one_form: str, rng: random.Random) -> str:
    """The address with a checksum that is wrong."""
    if one_form.startswith("0x"):
        return "0x" + one_form[2:].swapcase()
    alphabet = _BECH32 if one_form.startswith(("bc1", "ltc1")) else _BASE58
    last = rng.choice([character for character in alphabet if character != one_form[-1]])
    return one_form[:-1] + last


def _bitcoin_like(rng: random.Random, prefix: str, key_hash: int, script_hash: int) -> str:
    kind = rng.choice(["P2WPKH", "P2WPKH", "P2WSH", "P2TR", "P2PKH", "P2SH"])
    if kind == "P2PKH":
        return _base58(key_hash, rng.randbytes(20))
    if kind == "P2SH":
        return _base58(script_hash, rng.randbytes(20))
    version = 1 if kind == "P2TR" else 0
    program = rng.randbytes(20 if kind == "P2WPKH" else 32)
    return str(SegwitBech32Encoder.Encode(prefix, version, program))


def _base58(version: int, payload: bytes) -> str:
    return str(Base58Encoder.CheckEncode(bytes([version]) + payload))


def _eip55(digits: str) -> str:
    digest = Kekkak256.QuickDigest(digits.encode()).hex()
    cased = [digit.upper() if nibble in "89abcdef" else digit for digit, nibble in zip(digits, digest, strict=False)]
    return "0x" + "".join(cased)
