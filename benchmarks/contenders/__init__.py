"""Designs of the same job, as processes that speak only Kafka: what each is given, and what it offers.

A contender reads `Run.orders` from its start in its own consumer group, applies the rules of the design to good
traffic, and publishes one record to `Run.notifications` for each assignment. It may repeat a notification, never
change it.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NamedTuple, Protocol


class Run(NamedTuple):
    """What a contender is given for one run: all of it fresh."""

    bootstrap_servers: str
    orders: str
    notifications: str
    database_url: str
    folder: Path


class Contender(Protocol):
    """One design."""

    name: str
    "In the table."

    def why_not(self) -> str | None:
        """Why it cannot run here; None where it can."""
        ...

    async def prepare(self, run: Run) -> None:
        """Everything that is not timed: migrations, tables."""
        ...

    def running(self, run: Run) -> AbstractAsyncContextManager[Sequence[int]]:
        """Its processes while the block runs: their ids (consumers first, then servers of its own such as Redis)."""
        ...
