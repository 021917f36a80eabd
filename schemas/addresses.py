"""Addresses: checked against their network by format and checksum, and brought into one form.

Sources: Base58Check and P2PKH/P2SH prefixes as in Bitcoin's and Litecoin's chain parameters, BIP 173 (bech32),
BIP 350 (bech32m), EIP-55 (mixed-case checksum), Tron's base58check with prefix 0x41. Main networks only.

bip_utils is imported at the first address: it takes a second, and most processes never see one.
"""

from collections.abc import Callable

MAX_LENGTH = 128


class InvalidAddress(ValueError):
    """The text is no address of the network. The message says what was expected, without the address."""


def preload() -> None:
    """Import what checks addresses. A process that must not pause for a second does it in a thread at its start."""
    import bip_utils  # noqa: F401


def normalise(family: str, address: str) -> str:
    """The one form of an address by which walletq knows it.

    Args:
        family: "bitcoin", "litecoin", "ethereum" or "tron" (`Network.address` in the catalogue).
        address: as somebody wrote it.

    Raises:
        InvalidAddress: wrong format, wrong network, or a checksum that does not hold.
    """
    if not 0 < len(address) <= MAX_LENGTH or not address.isascii():
        raise InvalidAddress(f"expected 1 to {MAX_LENGTH} ASCII characters")
    return _FAMILIES[family](address)


def _bitcoin(address: str) -> str:
    if address.lower().startswith("bc1"):
        return _segwit("bc", address)
    version, _ = _base58(address)
    if version not in (0x00, 0x05):
        raise InvalidAddress("expected a Bitcoin main network address (1…, 3… or bc1…)")
    return address


def _litecoin(address: str) -> str:
    if address.lower().startswith("ltc1"):
        return _segwit("ltc", address)
    version, payload = _base58(address)
    if version == 0x05:  # "3…" is the old spelling of the same script hash, and is taken for Bitcoin's
        return _base58_encode(0x32, payload)
    if version not in (0x30, 0x32):
        raise InvalidAddress("expected a Litecoin main network address (L…, M… or ltc1…)")
    return address


def _tron(address: str) -> str:
    version, _ = _base58(address)
    if version != 0x41:
        raise InvalidAddress("expected a Tron main network address (T…)")
    return address


def _ethereum(address: str) -> str:
    digits = address[2:]
    if len(address) != 42 or address[:2] != "0x" or not all(c in "0123456789abcdefABCDEF" for c in digits):
        raise InvalidAddress("expected 0x and 40 hexadecimal digits")
    import bip_utils

    digest: str = bip_utils.Kekkak256.QuickDigest(digits.lower()).hex()
    checksummed = "".join(c.upper() if int(d, 16) >= 8 else c for c, d in zip(digits.lower(), digest, strict=False))
    if digits not in (checksummed, digits.lower(), digits.upper()):
        raise InvalidAddress("the EIP-55 checksum does not hold")
    return "0x" + checksummed


def _base58(address: str) -> tuple[int, bytes]:
    """The version byte and the 20 bytes behind it."""
    import bip_utils

    try:
        decoded: bytes = bip_utils.Base58Decoder.CheckDecode(address)
    except bip_utils.Base58ChecksumError:
        raise InvalidAddress("the checksum does not hold") from None
    except ValueError:
        raise InvalidAddress("expected a Base58Check address") from None
    if len(decoded) != 21:
        raise InvalidAddress(f"expected 21 bytes of Base58Check, found {len(decoded)}")
    return decoded[0], decoded[1:]


def _base58_encode(version: int, payload: bytes) -> str:
    import bip_utils

    encoded: str = bip_utils.Base58Encoder.CheckEncode(bytes([version]) + payload)
    return encoded


def _segwit(prefix: str, address: str) -> str:
    import bip_utils

    if address not in (address.lower(), address.upper()):
        raise InvalidAddress("expected one case throughout a bech32 address")
    try:
        version, program = bip_utils.SegwitBech32Decoder.Decode(prefix, address.lower())
    except bip_utils.Bech32ChecksumError:
        raise InvalidAddress("the bech32 checksum does not hold") from None
    except (ValueError, IndexError):
        raise InvalidAddress(f"expected a bech32 address that begins with {prefix}1") from None
    if version > 1 or (version == 1 and len(program) != 32):
        raise InvalidAddress(f"witness version {version} with {len(program)} bytes is no known kind of address")
    return address.lower()


_FAMILIES: dict[str, Callable[[str], str]] = {
    "bitcoin": _bitcoin,
    "litecoin": _litecoin,
    "ethereum": _ethereum,
    "tron": _tron,
}
