"""Whether a replay of a long log holds: `python -m benchmarks.replay [EVENTS]`.

Starts a Kafka and a PostgreSQL of its own, publishes a seeded lifecycle of order events, has one `walletq allocate`
drain it, and then runs `walletq replay` as a process: first on the database as it is, then on one with three rows
changed by hand. Prints JSON: duration, processor time and peak memory of the replay, and which changes it found.
"""

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from typing import Any

import asyncpg

from benchmarks.contenders.walletq import Walletq, settings_of
from benchmarks.meters import memory
from benchmarks.progress import PUBLISHED, counted
from benchmarks.publisher import publish
from benchmarks.servers import servers
from operations.up import WALLETQ, environment
from schemas.settings import Settings
from tests.traffic import lifecycle

# What is changed by hand, and what the replay must then say of it.
CHANGES = {
    "orders": "UPDATE orders SET amount = amount || '1' WHERE order_id = (SELECT max(order_id) FROM orders)",
    "assignments": "DELETE FROM assignments WHERE (partition, assigned_offset) IN"
    " (SELECT partition, assigned_offset FROM assignments WHERE released_offset IS NOT NULL LIMIT 1)",
    # In every table that says who holds what, so that they agree with each other.
    "wallets": """
        WITH held AS (SELECT currency, network, address, order_id, assigned_offset FROM wallets
                      WHERE status = 'occupied' AND currency = 'BTC' ORDER BY assigned_offset LIMIT 2),
             swapped AS (SELECT a.currency, a.order_id, b.address, b.order_id AS other, a.assigned_offset
                         FROM held a JOIN held b ON a.order_id <> b.order_id),
             o AS (UPDATE orders SET address = s.address FROM swapped s
                   WHERE orders.currency = s.currency AND orders.order_id = s.order_id),
             a AS (UPDATE assignments SET address = s.address FROM swapped s
                   WHERE assignments.currency = s.currency AND assignments.order_id = s.order_id)
        UPDATE wallets SET order_id = s.order_id, assigned_offset = s.assigned_offset FROM swapped s
        WHERE wallets.currency = s.currency AND wallets.address = s.address""",
}
SWAPPABLE = ("order_holds_one_wallet", "wallet_has_one_open_assignment")


async def main(events: int) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    async with servers() as bench, bench.run("replay") as run:
        settings = settings_of(run)
        await Walletq().prepare(run)
        ends = await asyncio.to_thread(publish, run.bootstrap_servers, run.orders, lifecycle(7, events))
        async with Walletq().running(run) as pids:
            await counted(run.database_url, PUBLISHED, sum(ends.values()), pids, what="offsets")
        before = await replay(settings)
        await _change(settings)
        after = await replay(settings)
    assert before["agrees"], before
    differing = {table["table"]: table for table in after["tables"]}
    return {
        "events": before["records"],
        "seconds": before["seconds"],
        "events_per_second": round(before["records"] / before["seconds"]),
        "cpu_us_per_event": round(before["cpu_seconds"] / before["records"] * 1e6, 1),
        "peak_mb": before["peak_mb"],
        "rows": {table["table"]: table["in_database"] for table in before["tables"]},
        "found": {
            "row_changed_by_hand": differing["orders"]["columns"].get("amount") == 1,
            "deleted_assignment": differing["assignments"]["only_replayed"] == 1,
            "swapped_wallets": differing["wallets"]["columns"].get("order_id") == 2,
        },
    }


async def _change(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.need_database())
    for index in SWAPPABLE:
        await connection.execute(f"DROP INDEX {index}")
    for change in CHANGES.values():
        await connection.execute(change)
    await connection.close()


async def replay(settings: Settings) -> dict[str, Any]:
    """`walletq replay` as a process: what it says, how long it takes, and the most memory that it has."""
    started, used = time.perf_counter(), _cpu_seconds()
    with tempfile.TemporaryFile() as out:
        process = await asyncio.create_subprocess_exec(
            *WALLETQ, "replay", "--json", env={**os.environ, **environment(settings)}, stdout=out
        )
        peak_mb = 0.0
        while process.returncode is None:
            peak_mb = max([peak_mb, *(one.most_mb for one in memory([process.pid]))])
            await asyncio.sleep(0.05)
        out.seek(0)
        document: dict[str, Any] = json.loads(out.read())
    return document | {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": _cpu_seconds() - used,
        "peak_mb": round(peak_mb),
    }


def _cpu_seconds() -> float:
    """Of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)), indent=2))
