"""When records are taken from the consumer."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from consumers.allocator.in_hand import InHand
from consumers.allocator.read_ahead import GATHER_SECONDS, MAX_BATCH_BYTES, ReadAhead
from consumers.allocator.reading import Reader
from consumers.places import Log
from schemas.catalogue import read_catalogue
from tests.reference import PARTITIONS
from tests.simulation.loop import simulate


class Consumer:
    """A log that gives these numbers of records, one number at each look, and notes the looks and the rests."""

    def __init__(self, *counts: int, value: bytes = b"") -> None:
        self._counts = list(counts)
        self._value = value
        self._here = 0
        self.looks: list[float] = []
        self.rests: list[float] = []

    async def describe(self) -> Log:
        raise NotImplementedError

    def seek(self, offset: int) -> None:
        raise NotImplementedError

    async def fetch(self, most: int, seconds: float) -> Sequence[Any]:
        if seconds:
            self.looks.append(asyncio.get_running_loop().time())
            if not self._counts:
                await asyncio.sleep(seconds)
                return []
            self._here = self._counts.pop(0)
        given = min(most, self._here)
        self._here -= given
        return [SimpleNamespace(offset=0, timestamp=0, key=b"", value=self._value, headers=()) for _ in range(given)]

    async def rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        await asyncio.sleep(seconds)


@pytest.mark.parametrize(
    ("came", "rests"),
    [(1, []), (4, []), (5, [GATHER_SECONDS]), (500, [GATHER_SECONDS]), (501, []), (900, [])],
)
def test_what_follows_several_records_gathers_and_what_follows_one_or_a_backlog_does_not(
    came: int, rests: list[float]
) -> None:
    consumer = Consumer(came, 1)

    async def read() -> None:
        reader = Reader(read_catalogue(), 0, PARTITIONS)
        ahead = ReadAhead(consumer, reader, InHand(), batch_records=1_000, on_change=lambda: None)
        async with ahead:
            await asyncio.sleep(0.5)
            assert len(ahead.take()) == came + 1

    simulate(read())
    assert consumer.rests == rests
    assert consumer.looks[:2] == [0.0, pytest.approx(sum(rests))]


def test_who_has_no_room_for_more_waits_for_room_alone() -> None:
    consumer = Consumer(40, 1)

    async def read() -> None:
        reader = Reader(read_catalogue(), 0, PARTITIONS)
        async with ReadAhead(consumer, reader, InHand(), batch_records=20, on_change=lambda: None) as ahead:
            await asyncio.sleep(0.001)
            ahead.take()
            ahead.give_back()
            await asyncio.sleep(0.5)

    simulate(read())
    assert consumer.looks[:2] == [0.0, 0.001]


@pytest.mark.parametrize(
    ("size", "batches"), [(MAX_BATCH_BYTES // 2, [2, 2, 1]), (MAX_BATCH_BYTES // 2 + 1, [1] * 5), (1, [3, 2])]
)
def test_a_batch_has_so_many_records_and_bytes_at_most_and_one_record_at_least(size: int, batches: list[int]) -> None:
    consumer = Consumer(5, value=bytes(size))

    async def read() -> None:
        reader = Reader(read_catalogue(), 0, PARTITIONS)
        async with ReadAhead(consumer, reader, InHand(), batch_records=3, on_change=lambda: None) as ahead:
            await asyncio.sleep(0.5)
            assert [len(ahead.take()) for _ in range(len(batches) + 1)] == [*batches, 0]

    simulate(read())


def test_large_records_are_not_read_ahead_beyond_the_bytes_in_hand_and_every_owner_gets_some() -> None:
    size, most = 500_000, 4_000_000
    first, second = (Consumer(*[2] * 20, value=bytes(size)) for _ in range(2))

    async def read() -> None:
        reader, in_hand = Reader(read_catalogue(), 0, PARTITIONS), InHand(most_bytes=most)
        async with ReadAhead(first, reader, in_hand, batch_records=1_000, on_change=lambda: None) as held_up:
            await asyncio.sleep(0.5)
            assert held_up.holding == most // size
            async with ReadAhead(second, reader, in_hand, batch_records=1_000, on_change=lambda: None) as free:
                for _ in range(5):
                    await asyncio.sleep(0.5)
                    assert free.holding == len(free.take()) == 2
                    free.give_back()
                assert len(held_up.take()) == most // size
                held_up.give_back()
                await asyncio.sleep(0.5)
                assert held_up.holding == most // size
        assert in_hand.room(holding=1) == InHand().room(holding=1)

    simulate(read())
