"""The upstream services: seeded events at a steady rate, through every outage, and what was acknowledged of them."""

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zlib import crc32

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from schemas.settings import Settings
from schemas.topics import names
from storage.kafka import client_options
from tests.servers.wait import until
from tests.traffic import Message, hostile, lifecycle, right_partition
from tests.traffic.messages import keyed

ENDLESS = 10**9
HOSTILE_SHARE = 0.05
HOSTILE_LIFE = 2_000
"After so many further events the order of a hostile one is ended."
SOON_SHARE = 0.05
TICK_SECONDS = 0.05
CURRENCIES = ("BTC", "ETH", "LTC", "USDT")
BUSY_PARTITIONS = frozenset(right_partition(currency.encode()) for currency in CURRENCIES)


def traffic(seed: int) -> Iterator[Message]:
    """Endless: good events and a few hostile ones. Orders expire in 90 minutes of real time, a few in seconds, so
    that the clock has work; those of the hostile events are ended in the end, or they would hold every wallet."""
    rng = random.Random(seed)
    good, bad = lifecycle(seed, ENDLESS), hostile(seed, ENDLESS)
    ends: deque[tuple[int, Message]] = deque()
    for number in itertools.count():
        while ends and ends[0][0] <= number:
            yield ends.popleft()[1]
        if rng.random() < HOSTILE_SHARE:
            message = next(bad)
            # other orders than those of the good ones
            message = message._replace(value=message.value and message.value.replace(b"ord-", b"odd-"))
            if end := _end(message):
                ends.append((number + HOSTILE_LIFE, end))
            yield message
        else:
            yield _expiring(next(good), rng)


def _end(message: Message) -> Message | None:
    """The event that ends the order of a hostile message; None where it is not about one."""
    try:
        event = json.loads(message.value or b"")
        return keyed(
            {
                "type": "order_status_changed",
                "status": "completed",
                "currency": event["currency"],
                "order_id": event["order_id"],
            }
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _expiring(message: Message, rng: random.Random) -> Message:
    event = json.loads(message.value or b"")
    if event.get("status") != "pending":
        return message
    event.pop("expires_at", None)
    if rng.random() < SOON_SHARE:
        event["expires_at"] = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    return message._replace(value=json.dumps(event).encode())


@dataclass(eq=False)
class Mark:
    """The first event of each busy partition that was published after a moment."""

    since: float
    offsets: dict[int, int] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every busy partition has had one."""
        return self.offsets.keys() >= BUSY_PARTITIONS


class Upstream:
    """Publishes until it is stopped. Made by `publishing`."""

    def __init__(self, settings: Settings, messages: Iterator[Message], rate: float) -> None:
        self.acknowledged: dict[tuple[int, int], int] = {}
        "By partition and offset: the CRC of the value that was acknowledged there."
        self.marks: set[Mark] = set()
        self._settings = settings
        self._topic = names(settings).orders
        self._messages = messages
        self._rate = rate
        self._flowing = asyncio.Event()
        self._pending: dict[int, tuple[float, Message]] = {}
        self._numbers = itertools.count()

    def pause(self) -> None:
        """Publish nothing new."""
        self._flowing.clear()

    def resume(self) -> None:
        """Go on."""
        self._flowing.set()

    async def quiet(self, seconds: float = 60) -> None:
        """Publish nothing new, and wait until everything is acknowledged."""
        self.pause()
        await until(lambda: not self._pending, seconds, "what was published to be known")

    @contextlib.contextmanager
    def mark(self, since: float) -> Iterator[Mark]:
        """What was published after that moment (monotonic seconds) and is acknowledged during the block."""
        mark = Mark(since)
        self.marks.add(mark)
        try:
            yield mark
        finally:
            self.marks.discard(mark)

    async def run(self) -> None:
        """Publish with one producer after the other: a failed one may have a hole in its sequence."""
        while True:
            producer = AIOKafkaProducer(
                **client_options(self._settings) | {"request_timeout_ms": 30_000},
                enable_idempotence=True,
                linger_ms=5,
                max_request_size=1 << 21,
            )
            try:
                await producer.start()
                await self._publish(producer)
            except KafkaError:
                await asyncio.sleep(TICK_SECONDS)
            finally:
                with contextlib.suppress(KafkaError, TimeoutError):
                    async with asyncio.timeout(2):
                        await producer.stop()

    async def _publish(self, producer: AIOKafkaProducer) -> None:
        """Until a message fails. What has no acknowledgement then is published again by the next producer: it may
        be there twice, as with any upstream service."""
        again, self._pending = list(self._pending.values()), {}
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for at, message in again:
            await self._send(producer, at, message, failed)
        due = time.monotonic()
        while not failed.done():
            if self._flowing.is_set():
                for _ in range(round(self._rate * TICK_SECONDS)):
                    await self._send(producer, time.monotonic(), next(self._messages), failed)
            due = max(due + TICK_SECONDS, time.monotonic() - TICK_SECONDS)
            await asyncio.wait([failed], timeout=max(0.0, due - time.monotonic()))
        failed.result()

    async def _send(
        self, producer: AIOKafkaProducer, at: float, message: Message, failed: "asyncio.Future[None]"
    ) -> None:
        number = next(self._numbers)
        self._pending[number] = at, message
        sent = await producer.send(
            self._topic, message.value, message.key, partition=message.partition, headers=list(message.headers)
        )

        def known(done: "asyncio.Future[RecordMetadata]") -> None:
            if done.cancelled() or done.exception() is not None:
                if not failed.done():
                    failed.set_exception(KafkaError("a message was not acknowledged"))
            else:
                self._pending.pop(number, None)
                self._note(at, message, done.result())

        sent.add_done_callback(known)

    def _note(self, at: float, message: Message, placed: RecordMetadata) -> None:
        self.acknowledged[placed.partition, placed.offset] = crc32(message.value or b"")
        for mark in self.marks if placed.partition in BUSY_PARTITIONS else ():
            if at >= mark.since:
                known = mark.offsets.get(placed.partition, placed.offset)
                mark.offsets[placed.partition] = min(known, placed.offset)


@contextlib.asynccontextmanager
async def publishing(settings: Settings, seed: int, rate: float) -> AsyncIterator[Upstream]:
    """Upstream at work: so many events a second.

    Args:
        settings: past the proxies: the load goes on whatever happens between walletq and Kafka.
        seed: of the traffic.
        rate: events a second.
    """
    upstream = Upstream(settings, traffic(seed), rate)
    upstream.resume()
    task = asyncio.create_task(upstream.run())
    try:
        yield upstream
    finally:
        task.cancel()
        await asyncio.wait([task])
