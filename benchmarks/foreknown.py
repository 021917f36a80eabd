"""The floor under every latency: the answers are known beforehand, and only have to be committed and published.

`Foreknown` stands where a contender stands; `python -m benchmarks.foreknown BOOTSTRAP ORDERS NOTIFICATIONS
DATABASE_URL ANSWERS STEPS` is its program. It fetches, looks up what each record leads to, commits that (or does not)
and publishes it, with the libraries of the allocator. It reads nothing, decides nothing and keeps no state: what
another design takes longer at the same rate is its own.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.contenders import Run
from benchmarks.log import Log
from benchmarks.parts import FETCHING
from embedded.child import Child
from schemas.topics import PARTITIONS

TABLE = 'CREATE TABLE answers (partition int, "offset" bigint, answer text, PRIMARY KEY (partition, "offset"))'
COMMIT = "INSERT INTO answers SELECT * FROM unnest($1::int[], $2::bigint[], $3::text[])"
COMMITTED = "fetch, commit, publish"
POLL_MS = 1_000

Answer = tuple[str, str]
"(key, value) of a notification."


class Foreknown:
    """One process, all partitions, no group."""

    def __init__(self, log: Log, *, commits: bool) -> None:
        """Args:
        log: whose answers are known.
        commits: whether each is committed before it is published.
        """
        self.name = COMMITTED if commits else "fetch, publish"
        self._log = log

    def why_not(self) -> str | None:
        """It runs wherever the benchmark does."""
        return None

    async def prepare(self, run: Run) -> None:
        """Write the answers down, by the places that the records will have, and make the table."""
        await asyncio.to_thread(_answers(run).write_bytes, orjson.dumps(answers_of(self._log)))
        connection = await asyncpg.connect(run.database_url)
        try:
            await connection.execute(TABLE)
        finally:
            await connection.close()

    @asynccontextmanager
    async def running(self, run: Run) -> AsyncIterator[Sequence[int]]:
        """The process."""
        where = (run.bootstrap_servers, run.orders, run.notifications, run.database_url, str(_answers(run)))
        program = [sys.executable, "-m", __name__, *where, self.name]
        child = Child("foreknown", program, log=run.folder / "foreknown.log")
        try:
            yield [child.pid]
        finally:
            await child.stop()


def answers_of(log: Log) -> dict[str, Answer]:
    """What each record leads to, by `partition/offset` on a fresh topic."""
    led_to = {
        made.cause: (order_id, _told(currency, order_id, made.network, made.address, made.waited))
        for (currency, order_id), made in log.assigned.items()
    }
    answers, ends = {}, Counter[int]()
    for index, message in enumerate(log.messages):
        if index in led_to:
            answers[f"{message.partition}/{ends[message.partition]}"] = led_to[index]
        ends[message.partition] += 1
    return answers


def _told(currency: str, order_id: str, network: str, address: str, waited: bool) -> str:
    told = {"currency": currency, "order_id": order_id, "network": network, "address": address, "waited": waited}
    return orjson.dumps(told).decode()


def _answers(run: Run) -> Path:
    return run.folder / "answers.json"


async def main(
    bootstrap_servers: str, orders: str, notifications: str, database_url: str, answers: str, steps: str
) -> None:
    """Answer until SIGTERM."""
    known: dict[str, Answer] = orjson.loads(await asyncio.to_thread(Path(answers).read_bytes))
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest", **FETCHING)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True)
    connection = await asyncpg.connect(database_url)
    sent: set[asyncio.Future[object]] = set()
    async with consumer, producer:
        consumer.assign([TopicPartition(orders, number) for number in range(PARTITIONS)])
        while True:
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
            due = [
                (record.partition, record.offset, *answer)
                for records in fetched.values()
                for record in records
                if (answer := known.get(f"{record.partition}/{record.offset}"))
            ]
            if due and steps == COMMITTED:
                partitions, offsets, _, values = zip(*due, strict=True)
                await connection.execute(COMMIT, partitions, offsets, values)
            for _, _, key, value in due:
                sending = await producer.send(notifications, value.encode(), key.encode())
                sent.add(sending)
                sending.add_done_callback(sent.discard)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
