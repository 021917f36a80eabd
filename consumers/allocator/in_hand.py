"""How many records a process has in hand: what bounds its memory, whatever its backlog and however many partitions."""

import asyncio

MOST = 7_000
"Records with their events and rows: some 2.5 kB each."
LEAST = 250
"So many any owner gets that has nothing in hand: one whose transaction is held up must not stop the others."


class InHand:
    """The records that the owners of a process have fetched and not yet applied."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._count = 0
        self._given_back = asyncio.Event()

    def room(self, holding: int) -> int:
        """How many records somebody may take who holds so many already; none, where it is below 1."""
        room = self._most - self._count
        return room if holding else max(room, LEAST)

    def take(self, records: int) -> None:
        """So many more are in hand."""
        self._count += records

    def give_back(self, records: int) -> None:
        """So many are applied, or given up."""
        self._count -= records
        self._given_back.set()
        self._given_back = asyncio.Event()

    async def change(self) -> None:
        """Wait until some are given back."""
        await self._given_back.wait()
