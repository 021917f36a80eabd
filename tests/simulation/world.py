"""One plan, played to its end."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any, NamedTuple

from storage.database import REFUSED
from tests.reference import right_partition
from tests.simulation.broker import SimulatedLog, SimulatedTopics
from tests.simulation.checks import Checks
from tests.simulation.database import Database
from tests.simulation.events import CURRENCY, NO_ASSIGNMENT, catalogues, key_and_value, no_cooling
from tests.simulation.group import Group
from tests.simulation.loop import simulate
from tests.simulation.plan import Fault, Item, Plan
from tests.simulation.process import Process, Work

START_MS = 1_767_225_600_000
PATIENCE_SECONDS = 15.0
"After the last of the plan, so long for faults that are still to come."
DRAIN_SECONDS = 200.0
"After the last fault everything must be applied and published within so long."
WAKE_SECONDS = 3.0
POLL_SECONDS = 1.0


class Outcome(NamedTuple):
    """What a plan came to."""

    violation: str | None
    records: int
    commits: int
    published: int
    calls: int
    met: Counter[str]
    "The faults and moves that were reached, by kind."
    trace: list[str]


class World:
    """The servers, the group and the clock of one plan."""

    def __init__(self, plan: Plan, *, traced: bool) -> None:
        self.plan = plan
        self.partition = right_partition(CURRENCY.encode())
        self.chance = random.Random(plan.seed)
        self.catalogues = catalogues()
        self.log = SimulatedLog()
        self.topics = SimulatedTopics()
        self.database = Database()
        self.group = Group(self, plan.members)
        self.met: Counter[str] = Counter()
        self.trace: list[str] = []
        self.calls: Counter[str] = Counter()
        self.commits = 0
        self._traced = traced
        self._faults = {(fault.call, fault.nth): fault for fault in plan.faults}
        self._calm = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._unfinished: list[asyncio.Task[Any]] = []
        "What is sure to come: processes that wake up or are started, and what servers do late."
        self._violation: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._checks = Checks(self.partition, self.log, self.database, self.topics)

    async def run(self) -> str | None:
        """What does not hold; None where all is well."""
        for member in range(self.plan.members):
            self.group.start(member, self.catalogues[self.plan.catalogue])
        playing = self.spawn(self._play())
        await asyncio.wait([playing, self._violation], return_when=asyncio.FIRST_COMPLETED)
        if self._violation.done():
            return self._violation.result()
        playing.result()
        return None

    async def _play(self) -> None:
        upstream, moves = self.spawn(self._upstream()), self.spawn(self._moves())
        await asyncio.wait([upstream, moves])
        upstream.result()
        moves.result()
        await self._until_drained(PATIENCE_SECONDS)
        self._calm = True
        self.tell(None, "no more faults")
        while unfinished := [task for task in self._unfinished if not task.done()]:
            await asyncio.wait(unfinished)
            await asyncio.sleep(WAKE_SECONDS)  # who has just woken up does what was in hand
        if not await self._until_drained(DRAIN_SECONDS):
            self.fail(f"I10: not drained {DRAIN_SECONDS} s after the last fault: {self._checks.left()}")

    async def _until_drained(self, seconds: float) -> bool:
        ends = self.now + seconds
        while (left := self._checks.left()) is not None and self.now < ends:  # noqa: ASYNC110 # virtual time
            await asyncio.sleep(POLL_SECONDS)
        return left is None

    async def _upstream(self) -> None:
        clock_ms = START_MS
        for item in self.plan.log:
            if item.after:
                await asyncio.sleep(item.after)
            clock_ms += item.clock_ms
            if item.kind == "gap":
                self.log.mark()
            else:
                key, value = key_and_value(item, self._cooling(item))
                self.log.append(self.partition, clock_ms, key, value)

    def _cooling(self, item: Item) -> str:
        """The clock reads the database: one of the wallets that cool; a stale one knows another assignment."""
        if item.kind != "cool":
            return ""
        found = [wallet for wallet in self.database.wallets.values() if wallet.cooling_assignment_id is not None]
        if not found:
            return no_cooling(item)
        wallet = found[item.subject % len(found)]
        ended = wallet.cooling_assignment_id if item.variant < 8 else NO_ASSIGNMENT
        return f"{wallet.network} {wallet.address} {ended}"

    async def _moves(self) -> None:
        for move in self.plan.moves:
            await asyncio.sleep(max(0.0, move.at - self.now))
            self.met[move.kind] += 1
            self.group.move(move)

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return asyncio.get_running_loop().time()

    def fault(self, call: str, process: Process) -> Fault | None:
        """What is to happen at this call."""
        nth = self.calls[call]
        self.calls[call] = nth + 1
        if self._traced:
            self.tell(process, f"calls {call} ({nth})")
        fault = self._faults.get((call, nth))
        if fault is None or self._calm:
            return None
        self.tell(process, f"meets {fault.kind} at {call}")
        self.met[fault.kind] += 1
        return fault

    def later(self, seconds: float, work: Work[object]) -> None:
        """What a server does when its caller has long given up."""

        async def after() -> None:
            await asyncio.sleep(seconds)
            try:
                await work()
            except (asyncio.TimeoutError, *REFUSED):
                return  # it has waited for a lock for too long, or wrote what the database does not take

        self.surely(after())

    def kill(self, process: Process, back_after: float) -> None:
        """As by SIGKILL; a supervisor starts it again so many seconds later."""
        self.group.kill(process, back_after)

    def stop(self, process: Process, seconds: float) -> None:
        """As by SIGSTOP, and SIGCONT so many seconds later."""
        self.group.stop(process, seconds)

    def committed(self) -> None:
        """A transaction has just been committed."""
        self.commits += 1
        self.tell(None, "committed")
        self._check(self._checks.after_commit())

    def published(self) -> None:
        """A message has just been published."""
        if self._traced:
            self.tell(None, f"published {self.topics.messages[-1][1].key!r}")
        self._check(self._checks.after_publish())

    def fail(self, violation: str) -> None:
        """End the simulation with this violation."""
        if not self._violation.done():
            self.tell(None, violation)
            self._violation.set_result(violation)

    def tell(self, process: Process | None, text: str) -> None:
        """A line of the trace."""
        if self._traced:
            self.trace.append(f"{self.now:9.4f}  {'' if process is None else f'member {process.member} '}{text}")

    def surely(self, work: Coroutine[Any, Any, Any]) -> None:
        """A task without whose end the plan has not ended."""
        self._unfinished.append(self.spawn(work))

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that is kept until the end, since nobody else may hold it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        return task

    def _check(self, found: str | None) -> None:
        if found is not None:
            self.fail(found)


def play(plan: Plan, *, traced: bool = False) -> Outcome:
    """Play a plan. The same plan comes to the same outcome, step by step."""

    async def main() -> Outcome:
        world = World(plan, traced=traced)
        violation = await world.run()
        return Outcome(
            violation,
            len(world.log.records),
            world.commits,
            len(world.topics.messages),
            sum(world.calls.values()),
            world.met,
            world.trace,
        )

    random.seed(plan.seed)  # of the owner's backoff
    return simulate(main())
