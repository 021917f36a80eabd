"""The simulated consumer group: it believes that one process owns the partition, and is sometimes wrong."""

import asyncio
from typing import TYPE_CHECKING

from consumers.allocator.handler import GRACE_SECONDS
from consumers.allocator.in_hand import InHand
from consumers.allocator.owner import Owner
from consumers.allocator.ports import Connect, Session
from consumers.allocator.store import Store
from schemas.catalogue import Catalogue
from storage.errors import ServerUnreachable
from tests.simulation.broker import NAMES, SimulatedPublisher, SimulatedSource
from tests.simulation.database import SimulatedSession
from tests.simulation.plan import Move
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

SESSION_SECONDS = 6.0
"After so long without a heartbeat the group gives the partition to another member."
HEARTBEAT_SECONDS = 1.0
"So long it takes at most until a process that goes on hears that the partition is no longer its own."

Owned = tuple[Owner, "asyncio.Task[None]"]


class Group:
    """The members, and who owns the partition in the eyes of the group."""

    def __init__(self, world: "World", members: int) -> None:
        self._world = world
        self._members: list[Process | None] = [None] * members
        self._owner: Process | None = None
        self._owned: dict[Process, Owned] = {}

    def start(self, member: int, catalogue: Catalogue) -> None:
        """A process begins, as this member."""
        process = self._members[member] = Process(self._world, member, catalogue)
        self._world.tell(process, "starts")
        if self._owner is not None and self._owner.member == member and not self._owner.alive:
            self._owner = None  # the same member id is back before the session of the old one has ended
        self._settle()

    def move(self, move: Move) -> None:
        """Carry out one of plan.MOVES."""
        member = move.member % len(self._members)
        process = self._members[member]
        if move.kind == "steal":
            self._give_to_another(notice=move.seconds)
        elif move.kind == "hand_over":
            self._world.spawn(self._hand_over())
        elif process is None:
            return
        elif move.kind == "kill":
            self.kill(process, move.seconds)
        elif move.kind == "pause":
            self.stop(process, move.seconds)
        elif move.kind == "cut":
            self._world.tell(process, "loses its sessions with the database")
            for session in list(process.sessions):
                session.terminate()
        else:
            self._world.spawn(self._deploy(process, move.seconds, self._world.catalogues[move.catalogue]))

    def kill(self, process: Process, back_after: float) -> None:
        """As by SIGKILL; a supervisor starts the member again."""
        if not process.alive:
            return
        self._world.tell(process, "is killed")
        process.kill()
        self._end(process, back_after, process.catalogue)

    def stop(self, process: Process, seconds: float) -> None:
        """As by SIGSTOP, and SIGCONT so many seconds later."""
        if not process.alive or process.stopped:
            return
        self._world.tell(process, f"is stopped for {seconds} s")
        process.stop()
        self._world.surely(self._wake(process, seconds))

    def _settle(self) -> None:
        """Where nobody owns the partition, a live member gets it."""
        live = [process for process in self._members if process is not None and process.alive]
        if self._owner is None and live:
            self._give(self._world.chance.choice(live))

    def _give(self, process: Process) -> None:
        self._world.tell(process, "is given the partition")
        self._owner = process
        store = Store(self._connecting(process), NAMES.orders, self._world.partition, process.catalogue)
        owner = Owner(
            store,
            SimulatedSource(process, self._world.log),
            SimulatedPublisher(process, self._world.topics),
            process.catalogue,
            batch_records=self._world.plan.batch_records,
            in_hand=InHand(self._world.plan.batch_records),
        )
        task = self._world.spawn(owner.run())
        task.add_done_callback(lambda task: self._ended(process, task))
        self._owned[process] = (owner, task)

    def _connecting(self, process: Process) -> Connect:
        async def connect() -> Session:
            return SimulatedSession(process, self._world.database)

        def refused() -> Exception:
            return ServerUnreachable("PostgreSQL", "simulated", "WALLETQ_DATABASE_URL", "simulated")

        async def connect_as(_application: str) -> Session:
            return await process.call("connect", connect, error=refused)

        return connect_as

    def _ended(self, process: Process, task: "asyncio.Task[None]") -> None:
        if process.alive and not task.cancelled() and (error := task.exception()) is not None:
            self._world.fail(f"member {process.member} gives up: {error!r}")

    def _give_to_another(self, notice: float) -> None:
        """The old owner goes on until it hears of it."""
        old = self._owner
        others = [p for p in self._members if p is not None and p.alive and not p.stopped and p is not old]
        if others:
            if old is not None:
                self._world.spawn(self._tell_later(old, self._owned[old], notice))
            self._give(self._world.chance.choice(others))

    async def _tell_later(self, process: Process, owned: Owned, notice: float) -> None:
        await asyncio.sleep(notice)
        await self._release(process, owned)

    async def _hand_over(self) -> None:
        """The group waits for the old owner; not longer than for its session."""
        old = self._owner
        if old is None:
            return
        releasing = self._world.spawn(self._release(old, self._owned[old]))
        await asyncio.wait([releasing], timeout=SESSION_SECONDS)
        if self._owner is old:
            self._owner = None
            self._settle()

    async def _release(self, process: Process, owned: Owned) -> None:
        """As the allocator's process does when partitions are taken away from it."""
        owner, task = owned
        await process.at_work()
        self._world.tell(process, "gives the partition back")
        owner.stop()
        await asyncio.wait([task], timeout=GRACE_SECONDS)
        await process.at_work()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def _wake(self, process: Process, seconds: float) -> None:
        await asyncio.sleep(min(seconds, SESSION_SECONDS))
        if seconds > SESSION_SECONDS:
            if self._owner is process:
                self._give_to_another(notice=seconds + self._world.chance.uniform(0, HEARTBEAT_SECONDS))
            await asyncio.sleep(seconds - SESSION_SECONDS)
        if process.alive:
            self._world.tell(process, "goes on")
            process.go_on()

    async def _deploy(self, process: Process, seconds: float, catalogue: Catalogue) -> None:
        if process in self._owned:
            await self._release(process, self._owned[process])
        if process.alive:
            self._world.tell(process, "exits")
            process.kill()
            if self._owner is process:
                self._owner = None
            self._end(process, seconds, catalogue)

    def _end(self, process: Process, back_after: float, catalogue: Catalogue) -> None:
        async def notice() -> None:
            await asyncio.sleep(SESSION_SECONDS)
            if self._owner is process:
                self._owner = None
                self._settle()

        async def come_back() -> None:
            await asyncio.sleep(back_after)
            self.start(process.member, catalogue)

        self._settle()
        self._world.spawn(notice())
        self._world.surely(come_back())
