"""What every choice of servers offers to the tests."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import pytest

from embedded.kafka import Proxied
from tests.servers.inbox import Mails

Name = Literal["kafka", "postgres", "inbox"]
Report = Callable[[str], None]
"Is told what takes long, a line at a time."


class Control(Protocol):
    """Faults for servers that are ours."""

    async def kill(self, name: Name) -> None:
        """End it at once, as a crash would."""
        ...

    async def start(self, name: Name) -> None:
        """Start it again, at the same address and on the same data, and wait until it serves."""
        ...

    async def pause(self, name: Name) -> None:
        """Freeze it: connections stay, nothing answers."""
        ...

    async def unpause(self, name: Name) -> None:
        """Let it go on."""
        ...


@dataclass
class Servers:
    """The servers of the test session. The data of `inbox` may be gone after a kill; that of the others stays."""

    kafka_bootstrap_servers: str
    database_admin_url: str
    "A superuser, in the database `postgres`."
    smtp_url: str
    mails: Mails | None
    "None: nobody can read what the mail server has accepted."
    control: Control | None
    "None: the servers are not ours to kill."
    kafka_proxied: Proxied | None = None
    "Kafka's listener behind a proxy; None: there is none."
    _faults: dict[Name, Literal["killed", "paused"]] = field(default_factory=dict)

    async def kill(self, name: Name) -> None:
        """End a server at once, as a crash would."""
        await self._controlled().kill(name)
        self._faults[name] = "killed"

    async def start(self, name: Name) -> None:
        """Start a killed server again, at the same address and on the same data; it serves afterwards."""
        await self._controlled().start(name)
        self._faults.pop(name, None)

    async def pause(self, name: Name) -> None:
        """Freeze a server: connections stay, nothing answers."""
        await self._controlled().pause(name)
        self._faults[name] = "paused"

    async def unpause(self, name: Name) -> None:
        """Let a frozen server go on."""
        await self._controlled().unpause(name)
        self._faults.pop(name, None)

    async def restore(self) -> None:
        """Undo every fault that a test has left behind."""
        undo: dict[str, Callable[[Name], Awaitable[None]]] = {"killed": self.start, "paused": self.unpause}
        for name, fault in list(self._faults.items()):
            await undo[fault](name)

    def _controlled(self) -> Control:
        if self.control is None:
            pytest.skip("external servers are not ours to kill")
        return self.control
