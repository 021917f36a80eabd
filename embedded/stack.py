"""The servers of one folder, started and stopped together."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

from embedded.child import Child, first_to_end
from embedded.errors import StackError
from embedded.inbox_server import InboxServer
from embedded.kafka import Kafka, Proxied
from embedded.locks import owned
from embedded.ports import Ports
from embedded.postgres import Postgres

Name = Literal["kafka", "postgres", "inbox"]


@dataclass(frozen=True)
class Servers:
    """Where the servers are; None for one that was not asked for."""

    kafka_bootstrap_servers: str | None
    database_url: str | None
    smtp_url: str | None
    inbox: Path | None
    "The folder of .eml files."
    kafka_proxied: Proxied | None = None
    "Kafka's second listener, where one was asked for."


class Server(Protocol):
    """What the stack asks of each of its servers."""

    name: str
    stop_seconds: float

    async def start(self) -> Child:
        """Start it, wait until it serves, and return its process."""
        ...


def to_stderr(line: str) -> None:
    """Tell the operator what happens."""
    sys.stderr.write(line + "\n")


class Stack:
    """Kafka, PostgreSQL and an inbox on loopback, with their data, logs and ports in one folder.

    Enter it from the main thread. A folder belongs to one live process at a time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kafka: bool = True,
        postgres: bool = True,
        inbox: bool = True,
        fast_start: bool = True,
        kafka_proxy: bool = False,
        report: Callable[[str], None] = to_stderr,
    ) -> None:
        """Say what is wanted; nothing starts yet.

        Args:
            folder: keeps data, logs and ports.
            kafka: start Kafka.
            postgres: start PostgreSQL.
            inbox: start the inbox.
            fast_start: let Kafka start faster and then run slower; not for benchmarks.
            kafka_proxy: let Kafka have a second listener, behind a proxy that the caller may start.
            report: is told what takes long, a line at a time.
        """
        self.folder = folder.absolute()
        logs = self.folder / "logs"
        ports = Ports(self.folder)
        self._kafka = (
            Kafka(self.folder / "kafka", logs, ports, report, fast_start=fast_start, with_proxy=kafka_proxy)
            if kafka
            else None
        )
        self._postgres = Postgres(self.folder / "postgres", logs, ports, report) if postgres else None
        self._inbox = InboxServer(self.folder / "inbox", logs, ports) if inbox else None
        servers: dict[Name, Server | None] = {
            "kafka": self._kafka,
            "postgres": self._postgres,
            "inbox": self._inbox,
        }
        self._servers = {name: server for name, server in servers.items() if server is not None}
        self._children: dict[Name, Child] = {}

    async def __aenter__(self) -> Servers:
        """Start what was asked for, all at once.

        Raises:
            FolderInUse: another process runs the servers of this folder.
            StackError: a server cannot start; none is left running.
        """
        try:
            self._ownership = owned(self.folder)
            await self._ownership.__aenter__()
        except OSError as error:
            raise _unusable(self.folder, error) from error
        try:
            async with asyncio.TaskGroup() as tasks:
                for name in self._servers:
                    tasks.create_task(self.start(name))
        except BaseExceptionGroup as errors:
            await self._stop()
            raise _first_cause(errors, self.folder) from None  # it has cancelled the other starts
        except BaseException:
            await self._stop()
            raise
        return Servers(
            kafka_bootstrap_servers=self._kafka.bootstrap_servers if self._kafka else None,
            database_url=self._postgres.url if self._postgres else None,
            smtp_url=self._inbox.url if self._inbox else None,
            inbox=self._inbox.mails if self._inbox else None,
            kafka_proxied=self._kafka.proxied if self._kafka else None,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything; the data stays."""
        await self._stop()

    async def start(self, name: Name) -> None:
        """Start a server again, at the same address and on the same data."""
        if name in self._children and self._children[name].alive:
            raise StackError(f"{name} runs already, as process {self.pid(name)}")
        self._children[name] = await self._servers[name].start()

    async def kill(self, name: Name) -> None:
        """End a server at once, as a crash would: SIGKILL, SIGQUIT for PostgreSQL."""
        child = self._children.pop(name)
        await child.kill()

    def pid(self, name: Name) -> int:
        """The process id of a server."""
        return self._children[name].pid

    @property
    def children(self) -> list[Child]:
        """The processes of the servers that run, or that have ended without being asked to."""
        return list(self._children.values())

    async def failure(self) -> Child:
        """Wait until a server ends that nobody has stopped or killed."""
        return await first_to_end(lambda: self.children)

    async def _stop(self) -> None:
        try:
            await self._stop_one("inbox")
            await asyncio.gather(self._stop_one("kafka"), self._stop_one("postgres"))
        finally:
            self._children.clear()
            await self._ownership.__aexit__(None, None, None)

    async def _stop_one(self, name: Name) -> None:
        if child := self._children.get(name):
            await child.stop(self._servers[name].stop_seconds)


def _first_cause(errors: BaseExceptionGroup[BaseException], folder: Path) -> BaseException:
    error = errors.exceptions[0]
    return _unusable(folder, error) if isinstance(error, OSError) else error


def _unusable(folder: Path, error: OSError) -> StackError:
    return StackError(f"{folder} cannot be used: {error}", advice="Choose a folder that can be written to.")
