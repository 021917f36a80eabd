"""What is committed goes out beside the owner's work: in order, and what is in hand comes to its end."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError

from consumers.allocator.publishing import MOST_WAITING, Publishing
from consumers.allocator.state import KeptDeadLetter, Notification
from consumers.errors import Fenced
from tests.servers.wait import until


class Broker:
    """Acknowledges a batch when it is told to."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.acknowledged: list[int] = []
        self.given_up: list[int] = []
        self._answers: dict[int, asyncio.Future[None]] = {}

    async def publish(self, _partition: int, kept: Iterable[Notification | KeptDeadLetter]) -> None:
        """See ports.Publisher."""
        (number,) = cast("Iterable[int]", kept)
        self.begun.append(number)
        try:
            await self.answer_of(number)
        except asyncio.CancelledError:
            self.given_up.append(number)
            raise
        self.acknowledged.append(number)

    def answer_of(self, number: int) -> "asyncio.Future[None]":
        """What comes of the batch with this number."""
        return self._answers.setdefault(number, asyncio.get_running_loop().create_future())

    async def acknowledge(self, number: int) -> None:
        """The batch with this number is on the topic."""
        self.answer_of(number).set_result(None)
        await until(lambda: number in self.acknowledged)


def batch(number: int) -> Any:
    """Something to publish."""
    return [number]


@asynccontextmanager
async def publishing(broker: Broker, batches: int) -> AsyncIterator[Publishing]:
    async with Publishing(broker, 0, 0) as line:
        for number in range(1, batches + 1):
            await line.add(number * 10, batch(number))
        await until(lambda: broker.begun == [1])
        yield line


async def test_batches_are_published_one_after_the_other_and_the_watermark_follows() -> None:
    broker = Broker()
    async with publishing(broker, 2) as line:
        assert (line.published_offset, broker.begun) == (0, [1])
        await broker.acknowledge(1)
        await until(lambda: broker.begun == [1, 2])
        assert line.published_offset == 10
        await broker.acknowledge(2)
        await line.done()
        assert line.published_offset == 20


async def test_batch_with_nothing_to_publish_moves_the_watermark_in_its_turn() -> None:
    broker = Broker()
    async with Publishing(broker, 0, 0) as line:
        await line.add(10, [])
        assert line.published_offset == 10
        await line.add(20, batch(1))
        await until(lambda: broker.begun == [1])
        assert line.published_offset == 10
        broker.answer_of(1).set_result(None)
        await line.done()


async def test_whoever_brings_more_than_can_wait_waits_too() -> None:
    broker = Broker()
    async with publishing(broker, MOST_WAITING) as line:
        third = asyncio.create_task(line.add(30, batch(3)))
        await asyncio.wait([third], timeout=0.05)
        assert not third.done()
        await broker.acknowledge(1)
        await third
        for number in (2, 3):
            await broker.acknowledge(number)


async def test_batch_behind_one_that_was_not_published_is_not_published_either() -> None:
    broker = Broker()
    async with publishing(broker, 2) as line:
        broker.answer_of(1).set_exception(KafkaConnectionError("gone"))
        with pytest.raises(KafkaError, match="gone"):
            await line.done()
        assert (line.published_offset, broker.begun) == (0, [1])


async def test_publish_that_ends_as_cancelled_by_itself_is_one_that_failed() -> None:
    """As if the owner were cancelled, its partition would be left with nobody."""
    broker = Broker()
    async with publishing(broker, 1) as line:
        broker.answer_of(1).cancel()
        with pytest.raises(KafkaError):
            await line.done()


async def test_error_lets_the_publish_in_hand_come_to_its_end() -> None:
    """A cancelled publish gives up the producer, which the other partitions share."""
    broker = Broker()

    async def own() -> None:
        async with publishing(broker, 2):
            await broker.acknowledge(1)
            await until(lambda: broker.begun == [1, 2])
            raise Fenced("order-status", 0, 20)

    owner = asyncio.create_task(own())
    await until(lambda: broker.begun == [1, 2])
    await asyncio.wait([owner], timeout=0.05)
    assert not owner.done()
    await broker.acknowledge(2)
    with pytest.raises(Fenced):
        await owner
    assert (broker.begun, broker.given_up) == ([1, 2], [])


async def test_error_drops_what_is_behind_the_publish_in_hand() -> None:
    broker = Broker()

    async def own() -> None:
        async with publishing(broker, 2):
            raise Fenced("order-status", 0, 20)

    owner = asyncio.create_task(own())
    await until(lambda: broker.begun == [1])
    await broker.acknowledge(1)
    with pytest.raises(Fenced):
        await owner
    assert (broker.begun, broker.given_up) == ([1], [])


async def test_cancellation_does_not_wait_for_the_broker() -> None:
    broker = Broker()

    async def own() -> None:
        async with publishing(broker, 2):
            await asyncio.get_running_loop().create_future()

    owner = asyncio.create_task(own())
    await until(lambda: broker.begun == [1])
    owner.cancel()
    await asyncio.wait([owner], timeout=5)
    assert owner.cancelled()
    assert (broker.begun, broker.given_up) == ([1], [1])
