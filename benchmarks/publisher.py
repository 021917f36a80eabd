"""Who writes the orders: as fast as it can, or on a schedule that nothing holds up."""

import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.worker import Board
from tests.traffic import Message

FLUSH_SECONDS = 60
HEAD_START_NS = 50_000_000


def publish(bootstrap_servers: str, topic: str, messages: Iterable[Message]) -> dict[int, int]:
    """Publish all as fast as possible, and return the end offset of each partition that has got some.

    Raises:
        RuntimeError: the broker has not taken all of it.
    """
    sending = _Sending(bootstrap_servers, topic, linger_ms=5)
    for message in messages:
        sending.send(message)
    return sending.finish()


def publish_on_schedule(
    connection: Connection,
    board: Board,
    bootstrap_servers: str,
    topic: str,
    prelude: Sequence[Message],
    messages: Sequence[Message],
    rate: float,
) -> None:
    """Publish the prelude at once, then, when told to go, the messages at `rate` a second; see `worker.Work`.

    Each has its time, whether those before it have been acknowledged or not: an open load. It says when the first is
    due (nanoseconds of the monotonic clock), and at the end by how many nanoseconds each was late.
    """
    sending = _Sending(bootstrap_servers, topic, linger_ms=0 if rate < 1_000 else 1)
    for message in prelude:
        sending.send(message)
    sending.flush()
    connection.send(None)
    connection.recv()
    start = time.monotonic_ns() + HEAD_START_NS
    connection.send(start)
    late = array("q")
    for number, message in enumerate(messages):
        due = start + due_after(number, rate)
        while (left := due - time.monotonic_ns()) > 0:
            time.sleep(left / 1e9)
        late.append(-left)
        sending.send(message)
        if board.ended:
            break
    sending.finish()
    connection.send(late)


def due_after(number: int, rate: float) -> int:
    """How many nanoseconds after the first message this one is due."""
    return round(number * 1e9 / rate)


class _Sending:
    """An idempotent producer of one topic: in order, with acknowledgements of all replicas."""

    def __init__(self, bootstrap_servers: str, topic: str, *, linger_ms: int) -> None:
        from confluent_kafka import Producer  # only `make bench` brings it

        self._topic = topic
        self._ends: dict[int, int] = {}
        self._error: object = None
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": linger_ms,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 3,  # a broker that has just started hands out no producer ids yet: it is asked again
            }
        )

    def send(self, message: Message) -> None:
        self._patiently(
            lambda: self._producer.produce(
                self._topic,
                value=message.value,
                key=message.key,
                partition=message.partition,
                headers=list(message.headers),
                on_delivery=self._delivered,
            )
        )
        self._producer.poll(0)

    def flush(self) -> None:
        left = self._producer.flush(FLUSH_SECONDS)
        if self._error is not None or left:
            raise RuntimeError(f"{self._topic}: {left} messages are not acknowledged: {self._error}")

    def finish(self) -> dict[int, int]:
        self.flush()
        return self._ends

    def _patiently(self, produce: Callable[[], None]) -> None:
        while True:
            try:
                produce()
                return
            except BufferError:  # the queue is full
                self._producer.poll(0.05)

    def _delivered(self, error: object, record: Any) -> None:
        if error is not None:
            self._error = error
        else:
            self._ends[record.partition()] = record.offset() + 1
