"""A consumer that handles one event in one PostgreSQL transaction, on FastStream and asyncpg.

Three times. As its users begin: one worker, and FastStream acknowledges each event by a commit of its offset
(`AckPolicy.NACK_ON_ERROR`). With a closer look: offsets are committed once a second, since an event that comes again
has no effect. And tuned: besides, a worker for each partition, so that currencies go side by side and each keeps its
order. All have validation from bytes in the decoder, without dependency injection for each message; kept sessions with
prepared statements; partial indexes for the heads of queue and free list; an outbox with a relay in the same process,
woken by the handler.

What it promises in a crash: an event's changes and its notification are committed together or not at all; events come
again without an effect, notifications as they were. What it does not promise:

- Order while a partition changes hands. Nothing fences an owner that is slow and not dead, so two processes can be at
  one partition. Row locks and constraints still keep a wallet with one order, but an order may be overtaken, and a
  payment that is handled before its order is passed over.
- Anything about bad input: what is no event is logged and passed over; an event that always fails blocks its partition.
- To be back at once: workers of one subscriber cannot be static members of their group, so that after kill -9 they get
  their partitions when the old session has timed out.
- To outlive its servers: a relay that cannot reach them ends the process, whose supervisor starts it again.
- One relay: each of several processes has its own, and two may publish the same row.

`PerEvent` is the contender, `app` its program, `handler` a message, `allocation` the transactions, `relay` the outbox.
"""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import asyncpg

from benchmarks.contenders import Run
from embedded.child import Child
from schemas.topics import PARTITIONS

Acks = Literal["each", "second"]

SCHEMA = Path(__file__).with_name("schema.sql")


class PerEvent:
    """One process, all partitions."""

    def __init__(self, name: str, workers: int, acks: Acks) -> None:
        """Args:
        acks: whether FastStream acknowledges each event, or the handler the last one of each second.
        """
        self.name = name
        self._arguments = (str(workers), acks)

    def why_not(self) -> str | None:
        """Where FastStream is missing, how to install it."""
        return None if find_spec("faststream") else "FastStream is not installed: make bench installs it"

    async def prepare(self, run: Run) -> None:
        """Make the tables."""
        connection = await asyncpg.connect(run.database_url)
        try:
            await connection.execute(SCHEMA.read_text())
        finally:
            await connection.close()

    def running(self, run: Run) -> AbstractAsyncContextManager[Sequence[int]]:
        """The consumer, whose log is in the run's folder."""
        return _consumer(run, "per-event-1", self._arguments)

    def standby(self, run: Run) -> AbstractAsyncContextManager[Sequence[int]]:
        """A second consumer."""
        return _consumer(run, "per-event-2", self._arguments)

    def versions(self) -> Mapping[str, str]:
        """The framework, the drivers and the event loop."""
        return {name: version(name) for name in ("faststream", "aiokafka", "asyncpg", "pydantic", "uvloop")}


CONTENDERS = (
    PerEvent("FastStream, a transaction per event", 1, "each"),
    PerEvent("FastStream, offsets each second", 1, "second"),
    PerEvent(f"FastStream with {PARTITIONS} workers", PARTITIONS, "second"),
)


@asynccontextmanager
async def _consumer(run: Run, name: str, arguments: Sequence[str]) -> AsyncIterator[Sequence[int]]:
    where = (run.bootstrap_servers, run.orders, run.notifications, run.database_url)
    child = Child(name, [sys.executable, "-m", f"{__name__}.app", *where, *arguments], log=run.folder / f"{name}.log")
    try:
        yield [child.pid]
    finally:
        await child.stop()
