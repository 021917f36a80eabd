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
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer

from embedded.stack import Stack
from operations.up import environment
from schemas.settings import Settings
from schemas.topics import names
from storage.kafka import client_options
from storage.migrations import migrate
from storage.topics import create_topics
from tests.traffic import Message, lifecycle

SLICE = 20_000
WALLETQ = (sys.executable, "-m", "operations")

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
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(Path(folder), inbox=False, fast_start=False) as servers:
            settings = Settings.model_validate(
                {
                    "kafka_bootstrap_servers": servers.kafka_bootstrap_servers,
                    "database_url": servers.database_url,
                    "log_level": "warning",
                }
            )
            await migrate(settings.need_database())
            await create_topics(settings)
            await _drain(settings, await _publish(settings, events))
            before = await _replay(settings)
            await _change(settings)
            after = await _replay(settings)
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


async def _publish(settings: Settings, events: int) -> dict[int, int]:
    """Publish the log; returns the end offset of each partition that has records."""
    ends: Counter[int] = Counter()
    producer = AIOKafkaProducer(
        **client_options(settings), enable_idempotence=True, acks="all", linger_ms=5, max_batch_size=1 << 20
    )
    async with producer:
        for messages in _slices(lifecycle(7, events)):
            sent = [
                await producer.send(names(settings).orders, message.value, message.key, partition=message.partition)
                for message in messages
            ]
            for record in await asyncio.gather(*sent):
                ends[record.partition] = max(ends[record.partition], record.offset + 1)
    return dict(ends)


def _slices(messages: Iterator[Message]) -> Iterator[list[Message]]:
    while some := list(islice(messages, SLICE)):
        yield some


async def _drain(settings: Settings, ends: dict[int, int]) -> None:
    connection = await asyncpg.connect(settings.need_database())
    process = await asyncio.create_subprocess_exec(*WALLETQ, "allocate", env={**os.environ, **environment(settings)})
    try:
        while True:
            rows = await connection.fetch("SELECT partition, published_offset FROM partitions")
            places = {row["partition"]: row["published_offset"] for row in rows}
            if all(places.get(partition) == end for partition, end in ends.items()):
                return
            if process.returncode is not None:
                raise SystemExit("the allocator has ended")
            await asyncio.sleep(0.2)
    finally:
        process.terminate()
        await process.wait()
        await connection.close()


async def _change(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.need_database())
    for index in SWAPPABLE:
        await connection.execute(f"DROP INDEX {index}")
    for change in CHANGES.values():
        await connection.execute(change)
    await connection.close()


async def _replay(settings: Settings) -> dict[str, Any]:
    """`walletq replay` as a process: what it says, how long it takes, and the most memory that it has."""
    started, used = time.perf_counter(), _cpu_seconds()
    with tempfile.TemporaryFile() as out:
        process = await asyncio.create_subprocess_exec(
            *WALLETQ, "replay", "--json", env={**os.environ, **environment(settings)}, stdout=out
        )
        peak_kb = 0
        while process.returncode is None:
            peak_kb = max(peak_kb, _peak_kb(process.pid))
            await asyncio.sleep(0.05)
        out.seek(0)
        document: dict[str, Any] = json.loads(out.read())
    return document | {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": _cpu_seconds() - used,
        "peak_mb": round(peak_kb * 1024 / 1e6),
    }


def _cpu_seconds() -> float:
    """Of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _peak_kb(pid: int) -> int:
    """The process's high-water mark, as Linux has it; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)), indent=2))
