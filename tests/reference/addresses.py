"""The one form of an address on its network, or None where it is not an address of that network."""

import re
from collections.abc import Callable
from functools import lru_cache

from bip_utils import (
    Base58ChecksumError,
    Base58Decoder,
    Base58Encoder,
    Bech32ChecksumError,
    SegwitBech32Decoder,
)
from bip_utils.utils.crypto import Kekkak256

_HEX_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


@lru_cache(10_000)
def normalised(network: str, address: str) -> str | None:
    """The form by which a wallet is identified; a network without a rule here takes any text as it is."""
    rule = _RULES.get(network)
    if rule is None:
        return address
    return rule(address) if address.isascii() else None


def _bitcoin(address: str) -> str | None:
    return _segwit(address, "bc") or _base58(address, {0x00: 0x00, 0x05: 0x05})


def _litecoin(address: str) -> str | None:
    """P2SH has the version bytes 0x05 ("3…", shared with Bitcoin) and 0x32 ("M…"), the one form here."""
    return _segwit(address, "ltc") or _base58(address, {0x30: 0x30, 0x32: 0x32, 0x05: 0x32})


def _tron(address: str) -> str | None:
    return _base58(address, {0x41: 0x41})


def _evm(address: str) -> str | None:
    """EIP-55; all-lower and all-upper digits carry no checksum, a mix must carry the right one."""
    if not _HEX_ADDRESS.fullmatch(address):
        return None
    digits = address[2:]
    mixed = digits not in (digits.lower(), digits.upper())
    return None if mixed and address != _eip55(digits) else _eip55(digits)


def _eip55(digits: str) -> str:
    digest = Kekkak256.QuickDigest(digits.lower().encode()).hex()
    cased = (
        digit.upper() if int(nibble, 16) >= 8 else digit for digit, nibble in zip(digits.lower(), digest, strict=False)
    )
    return "0x" + "".join(cased)


def _base58(address: str, versions: dict[int, int]) -> str | None:
    """Base58Check of a version byte and 20 bytes; `versions` maps the byte that is read to the one written."""
    try:
        payload = Base58Decoder.CheckDecode(address)
    except (ValueError, Base58ChecksumError):
        return None
    if len(payload) != 21 or payload[0] not in versions:
        return None
    return str(Base58Encoder.CheckEncode(bytes([versions[payload[0]]]) + payload[1:]))


def _segwit(address: str, prefix: str) -> str | None:
    """BIP 173 and BIP 350: P2WPKH and P2WSH of version 0, P2TR of version 1; later versions pay anyone."""
    try:
        version, program = SegwitBech32Decoder.Decode(prefix, address)
    except (ValueError, Bech32ChecksumError):
        return None
    return address.lower() if (version, len(program)) in ((0, 20), (0, 32), (1, 32)) else None


_RULES: dict[str, Callable[[str], str | None]] = {
    "bitcoin": _bitcoin,
    "litecoin": _litecoin,
    "TRC-20": _tron,
    "ethereum": _evm,
    "ERC-20": _evm,
    "BEP-20": _evm,
}
