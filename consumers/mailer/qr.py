"""QR codes of addresses, as PNG."""

import struct
import zlib
from functools import lru_cache

import segno

BORDER_MODULES = 4  # the quiet zone that ISO/IEC 18004 asks for
PIXELS_PER_MODULE = 6
# Readers take every mask; to compare all eight, as the standard advises for print, takes five milliseconds,
# in which a mailer sends five mails.
MASK = 3


@lru_cache(maxsize=8_192)  # wallets come back: the addresses of a pool are few
def qr_png(text: str) -> bytes:
    """The text as a QR code that tolerates 15 % of damage (level M)."""
    code = segno.make(text, error="m", micro=False, boost_error=False, mask=MASK)
    border = "1" * BORDER_MODULES * PIXELS_PER_MODULE
    empty = "1" * (len(code.matrix[0]) + 2 * BORDER_MODULES) * PIXELS_PER_MODULE
    dark, light = "0" * PIXELS_PER_MODULE, "1" * PIXELS_PER_MODULE
    rows = [empty] * BORDER_MODULES
    rows += [border + "".join(dark if module else light for module in row) + border for row in code.matrix]
    rows += [empty] * BORDER_MODULES
    return _png(rows, PIXELS_PER_MODULE)


def _png(rows: list[str], repeat: int) -> bytes:
    """A PNG of one bit a pixel, 1 is white, each row repeated (ISO/IEC 15948, sections 5 and 11.2)."""
    width = len(rows[0])
    padding = "0" * (-width % 8)
    size = (width + 7) // 8
    lines = (b"\0" + int(row + padding, 2).to_bytes(size, "big") for row in rows)
    header = struct.pack(">IIBBBBB", width, len(rows) * repeat, 1, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(line * repeat for line in lines), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
