"""From orders that wait to deliveries of kind `queued`: a look at the queues every second."""

import asyncio
from collections.abc import Callable, Sequence
from uuid import NAMESPACE_URL, UUID, uuid5

import structlog

from consumers.mailer.deliveries import Deliveries, Waiting
from consumers.mailer.notices import Delivery
from consumers.mailer.patience import patiently
from consumers.mailer.topic import Topic
from storage.waiting import first_of

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
MOST_IN_HAND = 1_000
"So many queued mails wait to be sent at most: what a queue that empties makes useless."


class QueueWatch:
    """Makes the deliveries. Several at work make them once: they find the same ids."""

    def __init__(
        self,
        deliveries: Deliveries,
        topic: Topic,
        pools: Sequence[tuple[str, str]],
        after_seconds: float,
        on_deliveries: Callable[[], None],
    ) -> None:
        """Wire it; nothing happens yet.

        Args:
            deliveries: the mailer's tables.
            topic: that of the orders.
            pools: whose queues to look at, each (currency, network).
            after_seconds: how long an order has waited before its customer is told.
            on_deliveries: is told that there are new ones.
        """
        self._deliveries = deliveries
        self._topic = topic
        self._pools = pools
        self._after_seconds = after_seconds
        self._on_deliveries = on_deliveries

    async def run(self, stop: asyncio.Event) -> None:
        """Look until `stop`."""
        while not stop.is_set():
            await patiently(self.look, what="looking at queues", stop=stop)
            await first_of(stop, LOOK_SECONDS)

    async def look(self) -> None:
        """One look."""
        room = MOST_IN_HAND - await self._deliveries.queued_in_hand()
        if room <= 0:
            return
        waiting = await self._deliveries.waiting(self._pools, self._after_seconds, room)
        if waiting:
            await self._deliveries.add_queued([self._delivery(order) for order in waiting])
            log.info("queued_mails_due", count=len(waiting))
            self._on_deliveries()

    def _delivery(self, order: Waiting) -> Delivery:
        partition = self._topic.partition_of(order.currency)
        return Delivery(
            queued_uuid(self._topic.name, partition, order.queue_place),
            partition,
            order.queue_place,
            order.currency,
            order.order_id,
            order.traceparent,
        )


def queued_uuid(topic: str, partition: int, offset: int) -> UUID:
    """The id of the mail to whose order waits, by the place of its pending event; no event's own (see event_uuid)."""
    return uuid5(NAMESPACE_URL, f"walletq:queued/{topic}/{partition}/{offset}")
