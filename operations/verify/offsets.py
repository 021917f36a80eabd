"""A set of offsets, in a bit for each offset: millions of them fit into memory."""

PAGE_BITS = 1 << 16


class OffsetSet:
    """Offsets of one partition; pages of 8 KiB, made where an offset is."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, offset: int) -> None:
        """Put an offset in."""
        page, bit = divmod(offset, PAGE_BITS)
        if page not in self._pages:
            self._pages[page] = bytearray(PAGE_BITS // 8)
        self._pages[page][bit >> 3] |= 1 << (bit & 7)

    def __contains__(self, offset: int) -> bool:
        page, bit = divmod(offset, PAGE_BITS)
        return page in self._pages and bool(self._pages[page][bit >> 3] & (1 << (bit & 7)))
