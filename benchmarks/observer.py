"""The observer: reads the notifications as anyone would who shows them, and notes when each arrived."""

import os
import time
from multiprocessing.connection import Connection

from benchmarks.delays import Arrival
from benchmarks.worker import Board, orphaned

POLL_SECONDS = 0.02


def observe(connection: Connection, board: Board, bootstrap_servers: str, topic: str, wanted: frozenset[bytes]) -> None:
    """Read a topic from its start until told to end; see `worker.Work`.

    The board counts which of the wanted keys have come. The last word is the list of all arrivals.
    """
    from confluent_kafka import Consumer, TopicPartition  # only `make bench` brings it

    # librdkafka, and values that are only looked at afterwards: on few cores the observer must take little of them.
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "observer",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 100,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    parent = os.getppid()
    arrivals: list[Arrival] = []
    missing = set(wanted)
    connection.send(None)
    while not board.ended:
        message = consumer.poll(POLL_SECONDS)
        at = time.monotonic_ns()
        if message is None:
            if orphaned(parent):
                return
            continue
        if (error := message.error()) is not None:
            raise RuntimeError(f"{topic} cannot be read: {error}")
        key = message.key()
        arrivals.append(Arrival(at, key, message.value()))
        missing.discard(key)
        board.count = len(wanted) - len(missing)
    consumer.close()
    connection.send(arrivals)
