"""A simulated process: it can be killed or stopped at every call, and each call can go wrong in its own way."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from schemas.catalogue import Catalogue
from tests.simulation.plan import CRITICAL, Fault

Result = TypeVar("Result")
Work = Callable[[], Awaitable[Result]]

SHORTEST_SECONDS, LONGEST_SECONDS = 0.0002, 0.004


class Surroundings(Protocol):
    """What a process lives in."""

    chance: random.Random

    def fault(self, call: str, process: "Process") -> Fault | None:
        """What is to happen at this call."""
        ...

    def later(self, seconds: float, work: Work[object]) -> None:
        """What a server does when its caller has long given up."""
        ...

    def kill(self, process: "Process", back_after: float) -> None:
        """As by SIGKILL."""
        ...

    def stop(self, process: "Process", seconds: float) -> None:
        """As by SIGSTOP, and SIGCONT so many seconds later."""
        ...

    def committed(self) -> None:
        """A transaction has just been committed."""
        ...

    def published(self) -> None:
        """A message has just been published."""
        ...


class Breakable(Protocol):
    """A connection."""

    def terminate(self) -> None:
        """It is closed."""
        ...


class Process:
    """One life of a member of the group, until it is killed or ends."""

    def __init__(self, world: Surroundings, member: int, catalogue: Catalogue) -> None:
        self.world = world
        self.member = member
        self.catalogue = catalogue
        self.alive = True
        self.sessions: set[Breakable] = set()
        self._running: asyncio.Event = asyncio.Event()
        self._running.set()

    @property
    def stopped(self) -> bool:
        """Whether it is stopped, as by SIGSTOP."""
        return not self._running.is_set()

    async def call(
        self,
        name: str,
        work: Work[Result],
        *,
        error: Callable[[], Exception],
        late: Callable[[], Work[object]] | None = None,
        part: Work[object] | None = None,
        odd: Work[Result] | None = None,
    ) -> Result:
        """A call of a server: a while to get there, the work, its reply, and whatever goes wrong.

        Args:
            name: one of plan.CALLS.
            work: what the server does.
            error: what the caller sees where the call fails.
            late: called when the caller gives up: what the server does some time afterwards.
            part: what the server does where only some of the work comes through.
            odd: what the server answers where it knows only some.
        """
        await self.at_work()
        fault = self.world.fault(name, self)
        await asyncio.sleep(self._way())
        if fault is not None:
            return await self._go_wrong(fault, work, error, late, part, odd)
        await self.at_work()
        result = await work()
        if name in CRITICAL:  # of the others the reply may come at once: nobody else sees what they do
            await asyncio.sleep(self._way())
            await self.at_work()
        return result

    async def _go_wrong(
        self,
        fault: Fault,
        work: Work[Result],
        error: Callable[[], Exception],
        late: Callable[[], Work[object]] | None,
        part: Work[object] | None,
        odd: Work[Result] | None,
    ) -> Result:
        kind = fault.kind
        if kind == "crash":
            self.world.kill(self, fault.seconds)
        elif kind == "pause":
            self.world.stop(self, fault.seconds)
        await self.at_work()
        if kind == "slow":
            await asyncio.sleep(fault.seconds)
        elif kind == "late" and late is not None:
            self.world.later(fault.seconds, late())
            raise error()
        elif kind == "part" and odd is not None:
            return await odd()
        elif kind == "part" and part is not None:
            await part()
            raise error()
        elif kind in ("fail", "late"):
            raise error()
        result = await work()
        if kind in ("lose", "part"):
            raise error()
        if kind == "crash_after":
            self.world.kill(self, fault.seconds)
        elif kind == "pause_after":
            self.world.stop(self, fault.seconds)
        await self.at_work()
        return result

    def kill(self) -> None:
        """Nothing of it ever runs again; the servers see its connections close."""
        self.alive = False
        for session in list(self.sessions):
            session.terminate()

    def stop(self) -> None:
        """As by SIGSTOP."""
        self._running.clear()

    def go_on(self) -> None:
        """As by SIGCONT."""
        self._running.set()

    async def at_work(self) -> None:
        """Return only while the process lives and is not stopped."""
        while not (self.alive and self._running.is_set()):
            if not self.alive:
                await asyncio.get_running_loop().create_future()  # for ever
            await self._running.wait()

    def _way(self) -> float:
        return self.world.chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
