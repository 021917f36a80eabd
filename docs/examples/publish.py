"""Publishes the events of standard input, one JSON object on each line, and prints where each is now.

python publish.py BOOTSTRAP_SERVERS TOPIC < events.jsonl
"""

import asyncio
import json
import os
import sys

from aiokafka import AIOKafkaProducer


async def main(servers: str, topic: str) -> None:
    # W3C trace context of what you are doing, such as OpenTelemetry's propagator gives it.
    traceparent = os.environ.get("TRACEPARENT")
    headers = [("traceparent", traceparent.encode())] if traceparent else []
    producer = AIOKafkaProducer(
        bootstrap_servers=servers,
        enable_idempotence=True,  # what is sent again after a lost reply is not there twice, or out of order
        acks="all",
        # No partitioner: aiokafka's own takes murmur2 of the key, as the Java client does.
    )
    async with producer:
        for line in sys.stdin:
            key = json.loads(line)["currency"].encode()
            placed = await producer.send_and_wait(topic, line.strip().encode(), key, headers=headers)
            print(placed.partition, placed.offset)


asyncio.run(main(*sys.argv[1:]))
