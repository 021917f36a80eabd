"""The contract of a contender: one design of walletq's job, as processes that speak only Kafka.

It reads `run.orders` (12 partitions, key = currency, JSON as in docs/architecture.md) from its start, in a consumer
group of its own, applies the rules to good traffic, and goes on as new records come. For each assignment it publishes
one record to `run.notifications`: key = order id, default partitioner, JSON with at least order_id, currency, network,
address and waited. It may repeat a notification, and never changes one. Duplicates among the orders have no effect.
SIGTERM ends it.

A module of this folder is found by its name and offers what it has in `CONTENDERS`. What it offers is measured from
outside, all in the same way; see benchmarks/README.md.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["Contender", "Run", "WithStandby", "WithVersions"]


class Run(NamedTuple):
    """What a contender is given for one run: all of it fresh."""

    bootstrap_servers: str
    orders: str
    "The name of a topic."
    notifications: str
    "The name of a topic."
    database_url: str
    "postgresql://… of an empty database, as a superuser."
    folder: Path
    "An empty folder."


@runtime_checkable
class Contender(Protocol):
    """One design of the job."""

    name: str
    "In the table."

    def why_not(self) -> str | None:
        """Why it cannot run here; None where it can."""
        ...

    async def prepare(self, run: Run) -> None:
        """Everything that is not timed: migrations, tables."""
        ...

    def running(self, run: Run) -> AbstractAsyncContextManager[Sequence[int]]:
        """Its processes while the block runs: their ids, consumers first, then servers of its own such as Redis.

        For the restart after kill -9, the first process is killed, the block is left, and another is entered for the
        same run: so a process that is gone is no error at the end of the block, and what is kept is kept in `run`.
        """
        ...


@runtime_checkable
class WithStandby(Protocol):
    """A contender that can run as two members of one group. Offering it is optional."""

    def standby(self, run: Run) -> AbstractAsyncContextManager[Sequence[int]]:
        """Another member beside the one of `running`: takes over when that one is gone for good."""
        ...


@runtime_checkable
class WithVersions(Protocol):
    """A contender that says what it is made of. Offering it is optional."""

    def versions(self) -> Mapping[str, str]:
        """Name and version of what matters for its speed."""
        ...
