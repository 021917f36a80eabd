"""How fast one allocator process drains a backlog: `make bench`, or `python -m benchmarks.drain [EVENTS]`.

Starts a Kafka and a PostgreSQL of its own (default durability), publishes a seeded lifecycle of order events, then
runs `walletq allocate` as a process and watches its places in the database. The result is checked: every record is
accounted for, and `walletq verify` finds no violation. Prints JSON; events a second are events of the log, applied,
committed and published.
"""

import asyncio
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from embedded.stack import Stack
from operations.up import environment
from schemas.settings import Settings
from schemas.topics import names
from storage.kafka import client_options
from storage.migrations import migrate
from storage.topics import create_topics
from tests.traffic import lifecycle

WARM_UP_EVENTS = 20_000
"Drained first, and not counted: a broker that has just started compiles its code while it serves."


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
            await _run(settings.model_copy(update={"topic_prefix": "warm-up."}), WARM_UP_EVENTS)
            ends, figures = await _run(settings, events)
            return {
                "events": events,
                "partitions_with_events": len(ends),
                **figures,
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            }


async def _run(settings: Settings, events: int) -> tuple[dict[int, int], dict[str, Any]]:
    """Publish and drain, in a database and topics of its own."""
    name = "drain_" + settings.topic_prefix.strip(".").replace("-", "_")
    connection = await asyncpg.connect(settings.need_database())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    url = settings.need_database().rpartition("/")[0] + "/" + name
    settings = settings.model_copy(update={"database_url": SecretStr(url)})
    await migrate(url)
    await create_topics(settings)
    ends = await _publish(settings, events)
    return ends, await _drain(settings, ends)


async def _publish(settings: Settings, events: int) -> dict[int, int]:
    """Publish the log; returns the end offset of each partition that has records."""
    producer = AIOKafkaProducer(
        **client_options(settings), enable_idempotence=True, acks="all", linger_ms=5, max_batch_size=1 << 20
    )
    async with producer:
        sent = [
            await producer.send(names(settings).orders, message.value, message.key, partition=message.partition)
            for message in lifecycle(7, events)
        ]
        placed = await asyncio.gather(*sent)
    ends: Counter[int] = Counter()
    for record in placed:
        ends[record.partition] = max(ends[record.partition], record.offset + 1)
    return dict(ends)


async def _drain(settings: Settings, ends: dict[int, int]) -> dict[str, Any]:
    events = sum(ends.values())
    connection = await asyncpg.connect(settings.need_database())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "operations", "allocate", env={**os.environ, **environment(settings)}
    )
    first: tuple[float, int] | None = None
    try:
        while True:
            rows = await connection.fetch(
                "SELECT partition, next_offset, published_offset, applied + no_effect + dead_letters AS records"
                " FROM partitions"
            )
            done = sum(row["next_offset"] for row in rows)
            if first is None and done:
                first = (time.perf_counter(), done)
            places = {row["partition"]: (row["next_offset"], row["published_offset"]) for row in rows}
            if all(places.get(partition) == (end, end) for partition, end in ends.items()):
                break
            await asyncio.sleep(0.02)
        ended = time.perf_counter()
        peak_bytes = _peak_bytes(process.pid)
    finally:
        process.terminate()
        await process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if sum(row["records"] for row in rows) != events:
        raise SystemExit(f"wrong: {events} events, but {rows} are accounted for")
    await connection.close()
    verify = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "operations",
        "verify",
        env={**os.environ, **environment(settings)},
        stdout=asyncio.subprocess.PIPE,
    )
    report, _ = await verify.communicate()
    if verify.returncode != 0:
        raise SystemExit(report.decode())
    assert first is not None
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "events_per_second": round((events - first[1]) / (ended - first[0])),
        "events_per_second_with_start": round(events / (ended - started)),
        "seconds_to_first_batch": round(first[0] - started, 2),
        "allocator_cpu_us_per_event": round(cpu / events * 1e6, 1),
        "allocator_peak_mb": round(peak_bytes / 1e6),
    }


def _peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)), indent=2))
