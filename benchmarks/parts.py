"""Parts of walletq's job, alone: `python -m benchmarks.parts PART`, with walletq's settings in the environment.

Reads the whole topic of orders, which holds good events only, and prints as JSON how long that took.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain, zip_longest
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumers.allocator.decide import decide
from consumers.allocator.handler import FETCH_WAIT_MS
from consumers.allocator.ports import Session
from consumers.allocator.reading import Reader
from consumers.allocator.session import connecting
from consumers.allocator.source import PartitionSource
from consumers.allocator.state import Batch, Changes
from consumers.allocator.store import Store
from operations.kafka_log import open_log
from operations.process import run_process, settings_for_process
from operations.replay.state import replayed_state
from schemas.addresses import preload
from schemas.catalogue import read_catalogue
from schemas.settings import Settings
from schemas.topics import PARTITIONS, names
from storage.kafka import FETCH_BYTES, client_options

WRITE = "write-"
FETCHING = {
    "isolation_level": "read_committed",
    "enable_auto_commit": False,
    "fetch_max_wait_ms": FETCH_WAIT_MS,
    "fetch_max_bytes": FETCH_BYTES,
    "max_partition_fetch_bytes": FETCH_BYTES,
}
"How the allocator's consumer fetches (consumers.allocator.handler)."


class Decided(NamedTuple):
    """A batch of one partition, and what it changes."""

    partition: int
    batch: Batch
    changes: Changes


async def measure(part: str, settings: Settings, _stop: asyncio.Event, _monitor: object) -> None:
    """Do the part, and print how it went."""
    if part.startswith(WRITE):
        events, seconds, cpu_seconds = await write(settings, int(part.removeprefix(WRITE)))
    else:
        events, seconds, cpu_seconds = await consume(settings, validate=part == "validate")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    print(json.dumps({"events": events, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb}))


async def consume(settings: Settings, *, validate: bool) -> tuple[int, float, float]:
    """Fetch as the owners of all partitions do, each on its own, with nothing behind it but the reader.

    Returns:
        events, seconds from the first fetched record on, processor seconds.
    """
    preload()
    catalogue = read_catalogue()
    began: list[tuple[float, float]] = []

    async def own(at: TopicPartition) -> int:
        source, reader = PartitionSource(consumer, at, ""), Reader(catalogue, at.partition, PARTITIONS)
        place, events, end = 0, 0, (await source.describe()).end
        source.seek(0)
        while place < end:
            records = await source.fetch(settings.batch_records, 1.0)
            if not records:
                continue
            began.append((time.perf_counter(), time.process_time()))
            if validate:
                for record in records:
                    assert reader.read(record).refusal is None, record
            place, events = records[-1].offset + 1, events + len(records)
        return events

    async with _consumer(settings) as consumer:
        events = sum(await asyncio.gather(*map(own, consumer.assignment())))
        wall, cpu = began[0]
        return events, time.perf_counter() - wall, time.process_time() - cpu


@asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """It fetches as the allocator's, without a group."""
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        auto_offset_reset="none",
        **FETCHING,
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(names(settings).orders, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        for at in partitions:
            consumer.seek(at, 0)
            consumer.pause(at)
        yield consumer
    finally:
        await consumer.stop()


async def write(settings: Settings, size: int) -> tuple[int, float, float]:
    """Decide everything first; then write what was decided, one transaction after the other on one connection.

    Returns:
        events, seconds of the transactions, processor seconds of this process for them.
    """
    decided, cluster_id = await _decided(settings, size)
    session = await connecting(settings.need_database())("walletq benchmark")

    async def the_one(_application: str) -> Session:
        return session

    stores = {}
    for partition in {one.partition for one in decided}:
        stores[partition] = Store(the_one, names(settings).orders, partition, read_catalogue())
        await stores[partition].take_place(PARTITIONS, cluster_id)
    wall, cpu = time.perf_counter(), time.process_time()
    for partition, batch, changes in decided:
        await stores[partition].apply(batch, changes, batch.start)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    session.terminate()
    return sum(len(one.batch.entries) for one in decided), seconds, cpu_seconds


async def _decided(settings: Settings, size: int) -> tuple[list[Decided], str]:
    """The log in batches that are decided, the partitions taking turns, and the id of its cluster."""
    catalogue, topic = read_catalogue(), names(settings).orders
    of_partitions: dict[int, list[Decided]] = {}
    async with open_log(settings) as log:
        ends = await log.ends(topic)
        records = [one async for some in log.read(topic, dict.fromkeys(ends, 0), ends) for one in some]
    with replayed_state() as state:
        for partition in {record.partition for record in records}:
            reader = Reader(catalogue, partition, PARTITIONS)
            entries = [reader.read(record) for record in records if record.partition == partition]
            for start in range(0, len(entries), size):
                some = entries[start : start + size]
                changes = decide(state.gather(some), some, catalogue, topic, partition)
                assert not changes.dead_letters, changes.dead_letters
                state.apply(partition, changes)
                batch = Batch(some[0].offset, some[-1].offset + 1, some)
                of_partitions.setdefault(partition, []).append(Decided(partition, batch, changes))
    turns = zip_longest(*of_partitions.values())
    return [one for one in chain.from_iterable(turns) if one is not None], log.cluster_id


if __name__ == "__main__":
    sys.exit(run_process(settings_for_process(connection_file=False), "allocate", partial(measure, sys.argv[1])))
