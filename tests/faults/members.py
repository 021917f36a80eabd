"""The processes of one kind: `walletq allocate` or `walletq mail`, started, killed and started again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from schemas.settings import Settings
from storage.errors import ServerUnreachable
from storage.kafka import admin_client
from tests.servers.processes import Process, process
from tests.servers.wait import until

UNREACHABLE = 3
TAKEN = "is taken by another live process"
STOP_SECONDS = 30
SHOWN_LINES = 40
STARTED = {"allocate": "partitions_assigned", "mail": "mailer_started", "clock": "clock_started"}


@dataclass(eq=False)
class Member:
    """One process, and its next life."""

    command: str
    settings: Settings
    busy: bool = False
    "A fault has it in hand."
    false_starts: int = 0
    "How often it ended because a server was away when it began."
    _lives: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _process: Process | None = None

    @property
    def process(self) -> Process:
        """The present life."""
        assert self._process is not None, f"walletq {self.command} is not started"
        return self._process

    @property
    def is_static(self) -> bool:
        """It has an id that it keeps."""
        return self.settings.member_id is not None

    @property
    def name(self) -> str:
        """For people."""
        return f"walletq {self.command} {self.settings.member_id or '(dynamic)'}"

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.process.log.splitlines()[-SHOWN_LINES:])

    async def start(self) -> None:
        """A new life; nothing is waited for."""
        self._lives = contextlib.AsyncExitStack()
        self._process = await self._lives.enter_async_context(process(self.command, self.settings))

    async def started(self, seconds: float = 60) -> None:
        """Wait until it has work to do. As a supervisor would, start it again where it found a server away, which
        at the start ends it, or the session of its own last life not yet closed."""
        async with asyncio.timeout(seconds):
            while not await self._has_started():
                code = await self.process.wait()
                assert code == UNREACHABLE or TAKEN in self.process.log, f"{self.name} ended:\n{self.last_words()}"
                self.false_starts += 1
                await self._lives.aclose()
                await self.start()

    async def _has_started(self) -> bool:
        """Whether it has; False once it has ended instead."""

        def known() -> bool:
            return not self.process.alive or STARTED[self.command] in self.process.log

        await until(known, 60, f"{self.name} to start")
        return STARTED[self.command] in self.process.log

    async def kill(self) -> None:
        """SIGKILL."""
        await self.process.kill()
        await self._lives.aclose()

    async def terminate(self) -> None:
        """SIGTERM, and wait for an end in good order."""
        self.process.terminate()
        code = await self.process.wait(STOP_SECONDS)
        assert code == 0, f"{self.name} ended with {code}:\n{self.last_words()}"
        await self._lives.aclose()

    async def end(self) -> None:
        """Stop it however it is; raises where it has ended by itself."""
        await self._lives.aclose()

    def assert_alive(self) -> None:
        """It has not given up."""
        assert self.process.alive, f"{self.name} gave up:\n{self.last_words()}"


@dataclass
class Members:
    """A consumer group's processes."""

    command: str
    group: str
    settings: Settings
    all: list[Member] = field(default_factory=list)

    async def add(self, member_id: str | None = None, *, busy: bool = False) -> Member:
        """One more; dynamic without an id."""
        member = Member(self.command, self.settings.model_copy(update={"member_id": member_id}), busy)
        self.all.append(member)
        await member.start()
        return member

    async def remove(self, member: Member) -> None:
        """One less, in good order."""
        self.all.remove(member)
        await member.terminate()

    async def shares(self, settings: Settings) -> list[int]:
        """How many partitions each member has, once the group is at rest; nothing before, or where Kafka is away.

        Args:
            settings: past the proxies.
        """
        try:
            async with admin_client(settings) as admin:
                (described,) = await admin.describe_consumer_groups([self.group])
        except (KafkaError, ServerUnreachable):
            return []
        _, _, state, _, _, members, *_ = described.groups[0]
        if state != "Stable":
            return []
        return sorted(len(ConsumerProtocolMemberAssignment.decode(member[4]).partitions()) for member in members)

    async def shared(self, settings: Settings, count: int, seconds: float = 60) -> None:
        """Wait until the group is at rest with so many members, each with partitions of its own."""

        async def so() -> bool:
            found = await self.shares(settings)
            return len(found) == count and all(found)

        await until(so, seconds, f"{count} members of {self.group} to have partitions")

    async def end(self) -> None:
        """Stop all at once."""
        results = await asyncio.gather(*(member.end() for member in self.all), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result


@contextlib.asynccontextmanager
async def members(command: str, group: str, settings: Settings) -> AsyncIterator[Members]:
    """No process yet; those that are added are stopped at the end."""
    group_of = Members(command, group, settings)
    try:
        yield group_of
    finally:
        await group_of.end()
