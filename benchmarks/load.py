"""An open load: a contender at work while records are sent on their schedule."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.contenders import Run
from benchmarks.delays import Arrival
from benchmarks.log import Log
from benchmarks.observer import observe
from benchmarks.progress import STALL_SECONDS, seen, worked_off
from benchmarks.publisher import due_after, publish_on_schedule
from benchmarks.worker import Worker, working

PRELUDE = 5_000
"Messages that are sent before the schedule begins: a contender is up, and warm, when it has worked them off."


@dataclass
class Load:
    """A log on its way, at so many messages a second after the prelude. Made by `loading`."""

    log: Log
    rate: float
    observer: Worker
    pacer: Worker
    start: int = 0
    "When the first message after the prelude is due, in nanoseconds of the monotonic clock."

    @property
    def seconds(self) -> float:
        """How long the schedule is."""
        return (len(self.log.messages) - PRELUDE) / self.rate

    async def prelude_seen(self, pids: Sequence[int]) -> None:
        """Wait until the contender has worked off the prelude.

        Raises:
            Wrong, Stalled: it does not.
        """
        await worked_off(self.observer, self.log, len(self.log.up_to(PRELUDE)), pids)

    async def begin(self) -> None:
        """Let the schedule begin."""
        self.pacer.go()
        self.start = await self.pacer.said()

    async def until(self, second: float) -> None:
        """Wait until this second of the schedule."""
        await asyncio.sleep(max(0.0, self.start / 1e9 + second - time.monotonic()))

    async def sent(self) -> Sequence[int]:
        """Wait for the end of the schedule; by how many nanoseconds each message was late."""
        late: Sequence[int] = await self.pacer.said()
        return late

    async def seen(self, pids: Sequence[int], patience: float = STALL_SECONDS) -> None:
        """Wait until all that must come has come.

        Raises:
            Stalled: nothing new has come for `patience` seconds, or a process has ended.
        """
        await seen(self.observer, len(self.log.assigned), pids, patience)

    async def arrivals(self) -> list[Arrival]:
        """All notifications that have come; the observer is gone then."""
        arrivals: list[Arrival] = await self.observer.end()
        return arrivals

    def due(self, cause: int) -> int | None:
        """When a message of the log was due, in nanoseconds of the monotonic clock; None for one of the prelude."""
        return None if cause < PRELUDE else self.start + due_after(cause - PRELUDE, self.rate)


@asynccontextmanager
async def loading(run: Run, log: Log, rate: float) -> AsyncIterator[Load]:
    """Publish the prelude; the rest follows when the load is told to begin."""
    prelude, rest = log.messages[:PRELUDE], log.messages[PRELUDE:]
    async with (
        working(observe, run.bootstrap_servers, run.notifications, log.keys) as (observer, _),
        working(publish_on_schedule, run.bootstrap_servers, run.orders, prelude, rest, rate) as (pacer, _),
    ):
        yield Load(log, rate, observer, pacer)
