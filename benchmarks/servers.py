"""Kafka and PostgreSQL of the benchmark's own, and what is made on them for each run."""

import asyncio
import itertools
import os
import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from benchmarks.contenders import Run
from embedded.stack import Stack
from schemas.settings import Settings
from schemas.topics import names, topics
from storage.kafka import admin_client
from storage.topics import create_topics

SHOWN_LINES = 10


@dataclass
class Bench:
    """The servers, with default durability.

    Attributes:
        bootstrap_servers: where Kafka is.
        database_url: where PostgreSQL is, as a superuser.
        pids: the process of each server, by its name.
        folder: for what the runs keep.
    """

    bootstrap_servers: str
    database_url: str
    pids: Mapping[str, int]
    folder: Path
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @asynccontextmanager
    async def run(self, name: str) -> AsyncIterator[Run]:
        """Topics, a database and a folder of its own for a run; they are gone when the block ends.

        An error of the block takes along what the logs in the folder said last.
        """
        slug = f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')[:40]}-{next(self._numbers)}"
        settings = Settings(kafka_bootstrap_servers=self.bootstrap_servers, topic_prefix=f"{slug}.")
        folder = self.folder / slug
        folder.mkdir(parents=True)
        await create_topics(settings)
        await self.execute(f'CREATE DATABASE "{slug}"')
        try:
            yield Run(
                self.bootstrap_servers,
                names(settings).orders,
                names(settings).notifications,
                f"{self.database_url.rpartition('/')[0]}/{slug}",
                folder,
            )
        except Exception as error:
            for log in sorted(folder.rglob("*.log")):
                error.add_note(f"--- the end of {log.name}\n{_tail(log)}")
            raise
        finally:
            await self.execute(f'DROP DATABASE "{slug}" WITH (FORCE)')
            async with admin_client(settings) as admin:
                await admin.delete_topics([topic.name for topic in topics(settings)])

    async def settle(self) -> None:
        """Have everything on disk: no run pays for what was written before it."""
        await self.execute("CHECKPOINT")
        await asyncio.to_thread(os.sync)

    async def execute(self, statement: str) -> None:
        """Run a statement outside of every run."""
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])


@asynccontextmanager
async def servers() -> AsyncIterator[Bench]:
    """Start Kafka and PostgreSQL in a temporary folder, and stop them at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="walletq-bench-") as folder:
        stack = Stack(Path(folder), inbox=False, fast_start=False)
        async with stack as started:
            assert started.kafka_bootstrap_servers is not None
            assert started.database_url is not None
            pids = {"kafka": stack.pid("kafka"), "postgres": stack.pid("postgres")}
            yield Bench(started.kafka_bootstrap_servers, started.database_url, pids, Path(folder, "runs"))
