"""The outbox: publishes what is committed, in offset order, and knows when all of it is acknowledged."""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson
from aiokafka import AIOKafkaProducer

from consumers.allocator.state import KeptDeadLetter, Notification
from consumers.dead_letters import dead_letter_message
from consumers.messages import Message, send
from schemas.topics import Names
from storage.kafka import started, stop


class _Waiting(NamedTuple):
    """What somebody wants to have published."""

    messages: list[Message]
    acknowledged: asyncio.Future[None]


class Outbox:
    """Publishes through one idempotent producer, which the partitions of a process share.

    The producer has one request at a time on its way to a broker, with one batch for each partition in it. So what
    comes meanwhile, from whichever partition, goes out together behind it.
    """

    def __init__(self, client_options: dict[str, Any], names: Names) -> None:
        self._client_options = client_options
        self._names = names
        self._producer: AIOKafkaProducer | None = None
        self._waiting: list[_Waiting] = []
        self._sending: asyncio.Task[None] | None = None

    async def publish(self, partition: int, kept: Iterable[Notification | KeptDeadLetter]) -> None:
        """Publish in this order, and wait until the brokers have acknowledged everything.

        Args:
            partition: where the records come from, on the orders' topic.

        Raises:
            KafkaError: some of it may be published and some not; read it from the database and publish it again.
        """
        messages = [
            notification_message(self._names, item)
            if isinstance(item, Notification)
            else dead_letter_message(self._names.orders, partition, item)
            for item in kept
        ]
        if not messages:
            return
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(messages, acknowledged))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_on())
        await acknowledged

    async def close(self) -> None:
        """Stop the producer."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})
        await self._give_up()

    async def _send_on(self) -> None:
        """Send until nothing waits any more."""
        try:
            while together := self._take():
                error = await self._send_together([message for one in together for message in one.messages])
                for one in together:
                    if one.acknowledged.done():  # who waited for it has gone
                        continue
                    if error is None:
                        one.acknowledged.set_result(None)
                    else:
                        one.acknowledged.set_exception(error)
        finally:
            self._sending = None

    def _take(self) -> list[_Waiting]:
        """What waits, without that of callers who have gone."""
        waiting, self._waiting = self._waiting, []
        return [one for one in waiting if not one.acknowledged.done()]

    async def _send_together(self, messages: list[Message]) -> Exception | None:
        try:
            await send(await self._started(), messages)
        except BaseException as error:
            # After a failure a producer's sequence may have a hole: the next publish begins with a new one.
            await asyncio.shield(self._give_up())
            if isinstance(error, Exception):
                return error
            raise
        return None

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            self._producer = await started(
                AIOKafkaProducer(
                    **self._client_options, enable_idempotence=True, acks="all", linger_ms=0, max_batch_size=262_144
                )
            )
        return self._producer

    async def _give_up(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop(producer)


def notification_message(names: Names, notification: Notification) -> Message:
    """The notification of an assignment: the same bytes, whether it comes from memory or from the database."""
    assignment = notification.assignment
    value = orjson.dumps(
        {
            "type": "wallet_assigned",
            "notification_id": assignment.assignment_id,
            "order_id": assignment.order_id,
            "currency": assignment.currency,
            "network": assignment.network,
            "address": assignment.address,
            "amount": notification.amount,
            "waited": assignment.waited,
            "assigned_at": assignment.assigned_at,
            "expires_at": notification.expires_at,
        },
        option=orjson.OPT_UTC_Z,
        default=str,  # the driver's own kind of UUID
    )
    headers = [("traceparent", notification.traceparent.encode())] if notification.traceparent else []
    return Message(names.notifications, assignment.order_id.encode(), value, headers)
