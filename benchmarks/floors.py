"""The floors: what parts of walletq's job cost alone, each in a process of its own."""

import asyncio
import json
import os
import sys
from typing import Any, NamedTuple

from benchmarks import meters
from benchmarks.contenders.walletq import settings_of
from benchmarks.log import Log
from benchmarks.publisher import publish
from benchmarks.results import Floor
from benchmarks.servers import Bench
from operations.up import environment
from storage.migrations import migrate


class Part(NamedTuple):
    """What it is called, and the server that works for it."""

    title: str
    server: str


PARTS = {
    "consume": Part("consume only", "kafka"),
    "validate": Part("consume and validate", "kafka"),
    "write-500": Part("PostgreSQL, batches of 500", "postgres"),
    "write-2000": Part("PostgreSQL, batches of 2,000", "postgres"),
}
"By the name under which benchmarks.parts measures it."


async def floor(bench: Bench, part: str, log: Log) -> Floor:
    """Measure one part over the log.

    Raises:
        RuntimeError: its process has failed.
    """
    title, server = PARTS[part]
    events = len(log.messages)
    async with bench.run(part) as run:
        await migrate(run.database_url)
        await asyncio.to_thread(publish, run.bootstrap_servers, run.orders, log.messages)
        await bench.settle()
        before = meters.cpu_seconds([bench.pids[server]])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.parts", part),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **environment(settings_of(run))},
        )
        output, _ = await process.communicate()
        after = meters.cpu_seconds([bench.pids[server]])
    if process.returncode != 0:
        raise RuntimeError(f"{title}: exit code {process.returncode}")
    found: dict[str, Any] = json.loads(output)
    assert found["events"] == events, found
    return Floor(
        name=title,
        events=events,
        seconds=found["seconds"],
        events_per_second=events / found["seconds"],
        cpu_us_per_event=found["cpu_seconds"] / events * 1e6,
        servers_cpu_us_per_event={server: (after - before) / events * 1e6},
        peak_mb=found["peak_mb"],
    )
