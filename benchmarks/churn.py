"""Whether walletq stays fast: `python -m benchmarks.churn [MINUTES]`.

Orders come, wait and end at a steady rate for as long as is said, an hour by default, with 10,000 of them waiting at
any time. Before the first minute and after every five, three backlogs are drained and timed, and it is noted how large
the tables and indexes are, and how many pages the two hot reads look at. At the end `walletq replay` compares every row
with the log. Prints JSON.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import asyncpg

from benchmarks.contenders import Run
from benchmarks.contenders.walletq import Walletq, settings_of
from benchmarks.course import warm_up
from benchmarks.meters import memory
from benchmarks.progress import PUBLISHED, counted, done
from benchmarks.publisher import publish, publish_on_schedule
from benchmarks.queues import Traffic, shipped_pools
from benchmarks.replay import replay
from benchmarks.servers import Bench, servers
from benchmarks.worker import working
from storage.arrays import columns
from storage.database import BY_INDEX, connect
from storage.sql import read_queries
from tests.traffic import Message

RATE = 1_000.0
BACKLOG, DRAINS = 100_000, 3
WAITING = 10_000
MINUTES_BETWEEN = 5
SEED = 7

APPLIED = "SELECT coalesce(sum(next_offset), 0)::bigint FROM partitions"
SIZES = """
SELECT relname AS name, pg_relation_size(oid) / 1e6 AS mb FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') AND pg_relation_size(oid) > 0
ORDER BY relkind DESC, relname
"""
SQL = read_queries("allocator")


class Churn:
    """The run: what is published, and how far walletq is."""

    def __init__(self, bench: Bench, run: Run, connection: asyncpg.Connection) -> None:
        self._bench = bench
        self._run = run
        self._connection = connection
        self._traffic = Traffic(shipped_pools(), waiting=WAITING, seed=SEED)
        self._sent = 0

    async def fill(self) -> None:
        """Fill the queues."""
        await self._publish(self._traffic.fill())
        async with Walletq().running(self._run) as pids:
            await self._drained(pids)

    async def look(self, minute: int) -> Mapping[str, Any]:
        """Drain backlogs, and look at the tables. One drain tells little: the next may be a third faster."""
        drains = [await self._drain() for _ in range(DRAINS)]
        return {
            "minute": minute,
            "events": self._sent,
            "events_per_second": round(statistics.median(speed for speed, _ in drains)),
            "drains": [round(speed) for speed, _ in drains],
            "peak_mb": round(max(peak_mb for _, peak_mb in drains)),
            "pages_of_first_free": await self._pages(free=1_000),
            "pages_of_first_waiting": await self._pages(waiting=1_000),
            "mb": {row["name"]: round(float(row["mb"]), 1) for row in await self._connection.fetch(SIZES)},
        }

    async def _drain(self) -> tuple[float, float]:
        """Events a second and peak MB, over one backlog."""
        before = self._sent
        await self._publish(self._traffic.take(BACKLOG))
        await self._bench.settle()
        async with Walletq().running(self._run) as pids:
            await done(partial(self._connection.fetchval, APPLIED), before + 1, pids, what="offsets")
            first, began = await self._connection.fetchval(APPLIED), time.monotonic()
            await self._drained(pids)
            seconds = time.monotonic() - began
            return (self._sent - first) / seconds, sum(one.most_mb for one in memory(pids))

    async def steadily(self, seconds: float) -> None:
        """A steady load for so long."""
        messages = self._traffic.take(round(RATE * seconds))
        self._sent += len(messages)
        arguments = (self._run.bootstrap_servers, self._run.orders, (), messages, RATE)
        async with Walletq().running(self._run) as pids, working(publish_on_schedule, *arguments) as (sender, _):
            sender.go()
            await sender.said()
            await sender.said()
            await self._drained(pids)

    async def _publish(self, messages: Sequence[Message]) -> None:
        await asyncio.to_thread(publish, self._run.bootstrap_servers, self._run.orders, messages)
        self._sent += len(messages)

    async def _drained(self, pids: Sequence[int]) -> None:
        await counted(self._run.database_url, PUBLISHED, self._sent, pids, what="offsets")

    async def _pages(self, *, free: int = 0, waiting: int = 0) -> int:
        """How many pages the read of so many free wallets and waiting orders of each pool looks at."""
        pools = [columns((pool.currency, pool.network, many) for pool in shipped_pools()) for many in (free, waiting)]
        named = ["{}"] * 6
        plan = await self._connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {SQL['gather']}", "", 0, *named, *pools[0], *pools[1]
        )
        root = json.loads(plan)[0]["Plan"]
        return int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])


async def main(minutes: int) -> Mapping[str, Any]:
    """Run it, and return its figures."""
    async with servers() as bench:
        await warm_up(bench, SEED)
        async with bench.run("churn") as run:
            await Walletq().prepare(run)
            connection = await connect(run.database_url, application="benchmark", parameters=BY_INDEX)
            try:
                churn = Churn(bench, run, connection)
                await churn.fill()
                looks = [await churn.look(0)]
                _tell(looks[-1])
                for minute in range(0, minutes, MINUTES_BETWEEN):
                    step = min(MINUTES_BETWEEN, minutes - minute)
                    await churn.steadily(step * 60)
                    looks.append(await churn.look(minute + step))
                    _tell(looks[-1])
            finally:
                connection.terminate()
            agrees = (await replay(settings_of(run)))["agrees"]
    return {"rate": RATE, "waiting": WAITING, "replay_agrees": agrees, "looks": looks}


def _tell(look: Mapping[str, Any]) -> None:
    drains = ", ".join(f"{speed:,}" for speed in look["drains"])
    sys.stderr.write(f"{look['minute']} minutes: {look['events_per_second']:,} events/s ({drains})\n")


if __name__ == "__main__":
    found = asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
    print(json.dumps(found, indent=2))
    sys.exit(0 if found["replay_agrees"] else 1)
