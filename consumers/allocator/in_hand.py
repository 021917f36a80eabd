"""How much a process has in hand: what bounds its memory, whatever its backlog and however many partitions."""

import asyncio
from typing import NamedTuple

MOST = 7_000
"Records with their events and rows: some 2.5 kB each."
MOST_BYTES = 16 * 1024 * 1024
"Of their keys and values: more is only taken by who has nothing in hand."
LEAST = 250
"So many any owner gets that has nothing in hand: one whose transaction is held up must not stop the others."


class Load(NamedTuple):
    """So many records, and the bytes of their keys and values."""

    records: int
    size: int

    def plus(self, other: "Load") -> "Load":
        return Load(self.records + other.records, self.size + other.size)

    def minus(self, other: "Load") -> "Load":
        return Load(self.records - other.records, self.size - other.size)


NOTHING = Load(0, 0)


class InHand:
    """The records that the owners of a process have fetched and not yet applied."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = Load(most, most_bytes)
        self._load = NOTHING
        self._given_back = asyncio.Event()

    def room(self, holding: int) -> int:
        """How many records somebody may take who holds so many already; none, where it is below 1."""
        room = self._most.minus(self._load)
        records = room.records if room.size > 0 else 0
        return records if holding else max(records, LEAST)

    def take(self, load: Load) -> None:
        """So much more is in hand."""
        self._load = self._load.plus(load)

    def give_back(self, load: Load) -> None:
        """So much is applied, or given up."""
        self._load = self._load.minus(load)
        self._given_back.set()
        self._given_back = asyncio.Event()

    async def change(self) -> None:
        """Wait until some are given back."""
        await self._given_back.wait()
