"""walletq itself: `walletq allocate` as a process."""

import importlib.metadata
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from benchmarks.contenders import Run
from operations.up import CONSUMER_STOP_SECONDS, WALLETQ, consumer
from schemas.settings import Settings
from schemas.topics import Names
from storage.migrations import migrate


class Walletq:
    """One allocator, a static member of its group."""

    name = "walletq"

    def __init__(self, catalogue: Path | None = None) -> None:
        """Args:
        catalogue: a TOML file; the shipped one where it is left out.
        """
        self._catalogue = catalogue

    def why_not(self) -> str | None:
        """It runs wherever its benchmark does."""
        return None

    async def prepare(self, run: Run) -> None:
        """The tables."""
        await migrate(run.database_url)

    def running(self, run: Run) -> AbstractAsyncContextManager[Sequence[int]]:
        """The allocator."""
        return walletq("allocate", settings_of(run, member_id="allocator-1", catalogue=self._catalogue), run)

    def standby(self, run: Run) -> AbstractAsyncContextManager[Sequence[int]]:
        """A second allocator."""
        return walletq("allocate", settings_of(run, member_id="allocator-2", catalogue=self._catalogue), run)

    def versions(self) -> Mapping[str, str]:
        """The drivers and the event loop."""
        return {name: importlib.metadata.version(name) for name in ("walletq", "aiokafka", "asyncpg", "uvloop")}


CONTENDERS = (Walletq(),)


def settings_of(run: Run, **more: Any) -> Settings:
    """What walletq is told in this run.

    Args:
        run: its topics are walletq's, under a prefix.
        more: further settings.
    """
    prefix = run.orders.removesuffix(Names().orders)
    assert run.notifications == Names(prefix).notifications, run
    return Settings(
        kafka_bootstrap_servers=run.bootstrap_servers,
        database_url=SecretStr(run.database_url),
        topic_prefix=prefix,
        log_level="warning",
        **more,
    )


@asynccontextmanager
async def walletq(command: str, settings: Settings, run: Run) -> AsyncIterator[Sequence[int]]:
    """`walletq COMMAND` as a process while the block runs."""
    child = consumer([*WALLETQ, command], settings, run.folder, f"{command}-{settings.member_id or 'any'}")
    try:
        yield [child.pid]
    finally:
        await child.stop(CONSUMER_STOP_SECONDS)
