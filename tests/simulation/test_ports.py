"""The simulated servers keep the promises that the real ones keep."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from consumers.allocator.ports import Publisher, Session, Source
from consumers.allocator.state import Order, Wallet
from consumers.messages import Message
from tests.ports import LOG_PROMISES, PUBLISHER_PROMISES, SESSION_PROMISES
from tests.ports.backend import TOPIC, Promise
from tests.simulation.broker import SimulatedLog, SimulatedPublisher, SimulatedSource, SimulatedTopics
from tests.simulation.database import Database, SimulatedSession, Transaction
from tests.simulation.events import catalogues
from tests.simulation.loop import simulate
from tests.simulation.plan import Fault
from tests.simulation.process import Process, Work


class Calm:
    """Surroundings in which nothing goes wrong."""

    def __init__(self) -> None:
        self.chance = random.Random(1)

    def fault(self, call: str, process: Process) -> Fault | None:  # noqa: ARG002
        """None, ever."""
        return None

    def later(self, seconds: float, work: Work[object]) -> None:
        """Not without a fault."""
        raise NotImplementedError

    def kill(self, process: Process, back_after: float) -> None:
        """Not without a fault."""
        raise NotImplementedError

    def stop(self, process: Process, seconds: float) -> None:
        """Not without a fault."""
        raise NotImplementedError

    def committed(self) -> None:
        """Nobody looks."""

    def published(self) -> None:
        """Nobody looks."""


class SimulatedBackend:
    """See tests.ports.Backend."""

    def __init__(self) -> None:
        self._process = Process(Calm(), 0, catalogues()[0])
        self._database = Database()
        self._log = SimulatedLog()
        self._topics = SimulatedTopics()

    async def session(self) -> Session:
        return SimulatedSession(self._process, self._database)

    @asynccontextmanager
    async def moving(self) -> AsyncIterator[None]:
        other = Transaction(self._database)
        await self._database.lock((TOPIC, 0), other)
        yield
        other.end()

    async def orders(self) -> list[Order]:
        return sorted(Transaction(self._database).rows("orders"), key=lambda order: (order.currency, order.order_id))

    async def wallets(self) -> list[Wallet]:
        return sorted(Transaction(self._database).rows("wallets"), key=lambda w: (w.currency, w.network, w.address))

    async def source(self) -> Source:
        return SimulatedSource(self._process, self._log)

    async def append(self, *values: bytes) -> None:
        for value in values:
            self._log.append(0, 1_767_225_600_000, b"USDT", value)

    async def leave_gap(self) -> None:
        self._log.mark()

    def publisher(self) -> Publisher:
        return SimulatedPublisher(self._process, self._topics)

    async def published(self) -> list[Message]:
        return [message for _, message in self._topics.messages]


@pytest.mark.parametrize(
    "promise", [*SESSION_PROMISES, *LOG_PROMISES, *PUBLISHER_PROMISES], ids=lambda promise: promise.__name__
)
def test_the_simulation_keeps_the_promise(promise: Promise) -> None:
    async def keep() -> None:
        await promise(SimulatedBackend())

    simulate(keep())
