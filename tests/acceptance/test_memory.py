"""What a process keeps in memory is bounded, whatever waits for it on its topic."""

import sys

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from schemas.settings import Settings
from schemas.topics import PARTITIONS, names
from storage.kafka import FETCH_BYTES, client_options
from tests.servers.processes import process
from tests.servers.topics import BROKERS_LIMIT, largest_value
from tests.servers.wait import until

MOST_MB = 120
OF_EACH_PARTITION = 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process that runs")
@pytest.mark.parametrize("command", ["allocate", "mail"])
async def test_a_backlog_of_large_records_is_not_taken_into_memory_at_once(
    settings: Settings, database: asyncpg.Connection, command: str
) -> None:
    topic = {"allocate": names(settings).orders, "mail": names(settings).notifications}[command]
    large, count = largest_value(b"USDT"), OF_EACH_PARTITION * PARTITIONS
    assert BROKERS_LIMIT > FETCH_BYTES, "each record is larger than an answer may be, and comes alone"
    async with AIOKafkaProducer(**client_options(settings), max_request_size=1 << 21) as producer:
        for number in range(count):
            await producer.send_and_wait(topic, bytes(large), b"USDT", partition=number % PARTITIONS)

    async def all_refused() -> bool:
        refused: int = await database.fetchval(
            "SELECT count(*) FROM dead_letters WHERE topic = $1 AND value_length = $2", topic, large
        )
        return refused == count

    async with process(command, settings) as one:
        await until(all_refused, 60, "every record to be a dead letter")
        assert one.peak_mb < MOST_MB
