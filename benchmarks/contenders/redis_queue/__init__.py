"""Queues and free lists as Redis lists: the design that grows out of a web handler.

Orders and wallets are hashes; whoever waits and whatever is free is pushed on the left of a list and popped on its
right. A consumer has a task for each partition, which handles one event at a time: commands where the next step needs
the answer, a MULTI/EXEC pipeline where it does not. The notification is sent at once, without waiting for the broker;
offsets are committed once a second, behind what has been handled and acknowledged.

Without crashes it assigns as it should, and an event that comes again has no effect. In a crash:

- Of the consumer, between two commands: a wallet that has been popped belongs to nobody, an order is known but neither
  waits nor holds one. When the event comes again, it finds the order known and leaves it so. A notification that was
  not acknowledged is lost for the same reason.
- Of the connection: a pop whose answer is lost has taken a wallet or an order out of its list, and nobody has it.
- Of the machine that Redis runs on: with `appendfsync always` what was answered is on disk. With `everysec` the last
  second or two of it is gone, and the offsets may have moved on: wallets that were given out are free again, and are
  given to a second order.
- As in any consumer without a fence, two processes may be at one partition while it changes hands.

`RedisQueue` is the contender, `app` its program, `workers` the partitions, `allocation` the commands.
"""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal

from benchmarks.contenders import Run
from embedded.child import Child
from embedded.ports import HOST, Ports
from embedded.readiness import until_serving

ADVICE = "apt-get install redis-server, or the package redis with brew, dnf or pacman"


class RedisQueue:
    """One consumer, all partitions, and a Redis of its own on a free loopback port."""

    def __init__(self, appendfsync: Literal["always", "everysec"]) -> None:
        """`appendfsync`: whether Redis waits for the disk before it answers, or lets it follow within a second."""
        self.name = f"Redis lists, appendfsync {appendfsync}"
        self._appendfsync = appendfsync

    def why_not(self) -> str | None:
        """Where redis-py or the server is missing, how to install it."""
        if not find_spec("redis"):
            return "redis-py is not installed: make bench installs it"
        return None if shutil.which("redis-server") else f"redis-server is not installed: {ADVICE}"

    async def prepare(self, run: Run) -> None:
        """Nothing: a fresh folder is an empty Redis."""

    @asynccontextmanager
    async def running(self, run: Run) -> AsyncIterator[Sequence[int]]:
        """The consumer and Redis, whose logs and data are in the run's folder."""
        port = Ports(run.folder).take("redis")
        where = (run.bootstrap_servers, run.orders, run.notifications, f"redis://{HOST}:{port}")
        async with self._server(run, port) as server:
            app = [sys.executable, "-m", f"{__name__}.app", *where]
            consumer = Child("redis-queue", app, log=run.folder / "redis-queue.log")
            try:
                yield [consumer.pid, server.pid]
            finally:
                await consumer.stop()

    def versions(self) -> Mapping[str, str]:
        """The server, the drivers and the event loop."""
        server = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
        drivers = {name: version(name) for name in ("redis", "hiredis", "aiokafka", "pydantic", "uvloop")}
        return {"redis-server": server.partition("v=")[2].split()[0], **drivers}

    @asynccontextmanager
    async def _server(self, run: Run, port: int) -> AsyncIterator[Child]:
        command = ["redis-server", "--bind", HOST, "--port", str(port), "--dir", str(run.folder)]
        durability = ["--appendonly", "yes", "--appendfsync", self._appendfsync, "--save", ""]
        server = Child("redis-server", [*command, *durability], log=run.folder / "redis.log")
        try:
            yield await until_serving(server, lambda: _answers(port))
        finally:
            await server.stop()


CONTENDERS = (RedisQueue("always"), RedisQueue("everysec"))


async def _answers(port: int) -> bool:
    """Without redis-py: this module says where it is missing."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
    except OSError:
        return False
    return answer == b"+PONG\r\n"
