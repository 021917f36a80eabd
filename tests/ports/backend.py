"""What a promise is given: the real servers, or the simulated ones."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from consumers.allocator.ports import Publisher, Session, Source
from consumers.allocator.state import Order, Wallet
from consumers.messages import Message

TOPIC = "order-status"


class Backend(Protocol):
    """Servers with an empty database and empty topics."""

    async def session(self) -> Session:
        """A new session with the database."""
        ...

    def moving(self) -> AbstractAsyncContextManager[None]:
        """Somebody else is in the middle of moving the place of partition 0, and gives up at the end."""
        ...

    async def orders(self) -> list[Order]:
        """The orders as they are kept, in the order of their names."""
        ...

    async def wallets(self) -> list[Wallet]:
        """The wallets as they are kept, in the order of their names."""
        ...

    async def source(self) -> Source:
        """A new reader of the log, as a process has it before its first seek."""
        ...

    async def append(self, *values: bytes) -> None:
        """These records are at the end of the log now."""
        ...

    async def leave_gap(self) -> None:
        """An offset at the end of the log has no record."""
        ...

    def publisher(self) -> Publisher:
        """A new publisher."""
        ...

    async def published(self) -> list[Message]:
        """What is on the topics that are published to, in the order of each partition."""
        ...


Promise = Callable[[Backend], Awaitable[None]]
