"""QR codes, as PNG."""

import struct
import zlib
from functools import lru_cache

import zxingcpp

MASK = 3
"Readers take every mask. To compare all eight, as the standard advises for print, takes four times as long."
PIXELS_PER_MODULE = 8
"In a PNG of one bit a pixel a byte is eight pixels: so each module is a byte, black or white as the library has it."
WINDOW_BITS, MEMORY_LEVEL = 13, 4
"Of zlib: with its defaults most of the time goes into making ready for more data than an image has."

_AS_ABOVE = b"\2"  # the filter "up" (ISO/IEC 15948, section 9.2): zeros behind it repeat the row above


@lru_cache(maxsize=8_192)  # wallets come back: the addresses of a pool are few
def qr_png(text: str) -> bytes:
    """The text as a QR code that tolerates 15 % of damage (level M)."""
    code = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode, ec_level="M", data_mask=MASK)
    image = code.to_image(scale=1, add_quiet_zones=True)
    size, modules = image.shape[0], bytes(memoryview(image))  # type: ignore[arg-type]  # it is a buffer
    again = (_AS_ABOVE + bytes(size)) * (PIXELS_PER_MODULE - 1)
    rows = b"".join(b"\0" + modules[at : at + size] + again for at in range(0, size * size, size))
    deflate = zlib.compressobj(1, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL)
    pixels = deflate.compress(rows) + deflate.flush()
    header = struct.pack(">IIBBBBB", size * PIXELS_PER_MODULE, size * PIXELS_PER_MODULE, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
